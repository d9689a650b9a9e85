"""A simulated collection reveals what its policies choose, and compares what was predicted with what came."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.studies.advisor.simulation import MEASURED, POLICIES, RULES, Collection, collect, long_tail, stops


def collection(counts: list[int], batch: int = 5, available: int = 60) -> Collection:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(available)
    spread = torch.tensor([1.0, 1.0, 6.0])[labels][:, None]
    return Collection(torch.randn(3 * available, 6, generator=generator) * spread, labels, counts, batch, 0)


def collected(policy: str, counts: list[int], budget: int) -> list[int]:
    state = collection(counts)
    collect(state, policy, budget)
    return [now - before for now, before in zip(state.counts, counts, strict=True)]


def test_rivals_do_what_their_names_say() -> None:
    assert collected("uniform", [10, 20, 30], 30) == [10, 10, 10]
    assert collected("starved", [10, 20, 30], 15) == [15, 0, 0]
    assert collected("starved", [10, 10, 30], 20) == [10, 10, 0]
    assert sum(collected("proportional", [1, 1, 58], 30)) == 30


def test_the_advisor_serves_the_class_that_gains_most() -> None:
    # Bits: the wide class. Shares of S': those whose S' is small.
    assert collected("advisor_bits", [20, 20, 20], 5)[2] == 5
    assert collected("advisor", [6, 40, 40], 10)[0] == 10


@pytest.mark.parametrize("policy", list(POLICIES))
def test_budgets_are_spent_and_classes_never_overdrawn(policy: str) -> None:
    state = collection([55, 50, 10], available=60)
    reveals = collect(state, policy, 45)
    assert sum(state.counts) == 55 + 50 + 10 + 45
    assert max(state.counts) <= 60
    assert state.steps == 9
    assert bool(reveals) == (policy in MEASURED)
    assert len(set(state.rows().tolist())) == sum(state.counts)


def test_a_reveal_is_the_difference_of_the_scales() -> None:
    state = collection([20, 20, 20])
    before = float(semantic_scale(state.samples(1)))
    growth = state.growth(1)
    found = state.predicted_reveal(1)
    assert growth is not None
    assert found is not None
    assert found.number == 20
    assert found.revealed == pytest.approx(float(semantic_scale(state.samples(1))) - before)
    assert found.predicted == pytest.approx(growth.bits(25) - growth.bits(20))
    assert 0.0 < found.naive < before
    assert state.counts == [20, 25, 20]


def test_too_few_samples_are_revealed_without_a_prediction() -> None:
    state = collection([3, 20, 20])
    assert state.predicted_reveal(0) is None
    assert state.counts[0] == 8


def test_the_start_is_long_tailed_and_seeded() -> None:
    counts = long_tail(10, 100, 5, 3)
    assert (max(counts), min(counts)) == (100, 5)
    assert counts == long_tail(10, 100, 5, 3) != long_tail(10, 100, 5, 4)


# Stop rules on a class whose volume is known to saturate, and on one that never does.
def test_lower_thresholds_stop_later_and_leave_less() -> None:
    samples = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    found = {(entry["rule"], entry["threshold"]): entry for entry in stops(samples, 20, [0.1, 0.01], 0)}
    assert set(found) == {(rule, threshold) for rule in RULES for threshold in (0.1, 0.01)}
    for rule in RULES:
        assert found[rule, 0.1]["count"] <= found[rule, 0.01]["count"] < 600
        assert found[rule, 0.1]["left"] >= found[rule, 0.01]["left"] - 0.02


def test_the_first_rule_is_the_papers() -> None:
    samples = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    scales = {count: float(semantic_scale(samples[:count])) for count in range(10, 301, 10)}
    stop = next(n for n in range(20, 301, 10) if (scales[n] - scales[n - 10]) / scales[n - 10] < 0.05)
    found = stops(samples, 10, [0.05], 0)[0]
    assert found["rule"] == "as they come"
    assert found["count"] == stop
    assert found["left"] == pytest.approx(1.0 - scales[stop] / scales[300])


def test_a_class_that_keeps_growing_is_collected_to_its_end() -> None:
    samples = torch.eye(60)
    assert all(entry == {**entry, "count": 60, "left": 0.0} for entry in stops(samples, 20, [1e-6], 0))
