"""A simulated collection reveals what its policies choose, and compares what was predicted with what came."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.studies.advisor.simulation import MEASURED, POLICIES, Collection, collect, long_tail


def collection(counts: list[int], batch: int = 5, available: int = 60) -> Collection:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(available)
    spread = torch.tensor([1.0, 1.0, 6.0])[labels][:, None]
    return Collection(torch.randn(3 * available, 6, generator=generator) * spread, labels, counts, batch, 0)


def grants(policy: str, counts: list[int], budget: int) -> list[int]:
    state = collection(counts)
    collect(state, policy, budget)
    return [now - before for now, before in zip(state.counts, counts, strict=True)]


def test_rivals_do_what_their_names_say() -> None:
    assert grants("uniform", [10, 20, 30], 30) == [10, 10, 10]
    assert grants("starved", [10, 20, 30], 15) == [15, 0, 0]
    assert grants("starved", [10, 10, 30], 20) == [10, 10, 0]
    assert sum(grants("proportional", [1, 1, 58], 30)) == 30


def test_the_advisor_serves_the_class_that_gains_most() -> None:
    # Bits: the wide class. Shares of S': those whose S' is small.
    assert grants("advisor_bits", [20, 20, 20], 5)[2] == 5
    assert grants("advisor", [6, 40, 40], 10)[0] == 10


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
