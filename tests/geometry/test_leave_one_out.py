"""Leave-one-out in closed form against classifiers made again without each sample."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semscale_pl.geometry import (
    DiscriminantMoments,
    DiscriminantSettings,
    choose_settings,
    gaussian_discriminant,
    leave_one_out_scores,
)
from semscale_pl.geometry.discriminant import bandwidth_of
from semscale_pl.geometry.leave_one_out import interpolation


def drawn(counts: tuple[int, ...], dim: int, apart: float = 1.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dim)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    rows = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    rows += apart * torch.randn(len(counts), dim, generator=generator, dtype=torch.float64)[labels] + 20.0
    shuffled = torch.randperm(len(labels), generator=generator)
    return rows[shuffled], labels[shuffled]


def refitted(moments: DiscriminantMoments, rows: Tensor, labels: Tensor, chosen: DiscriminantSettings) -> Tensor:
    """Scores of each sample by the classifier of all others, made again from those rows with the same weights."""
    chosen = replace(chosen, bandwidth=bandwidth_of(moments, chosen))
    scores = torch.full((len(labels), len(moments.counts)), torch.nan, dtype=torch.float64)
    for row in range(len(labels)):
        if moments.counts[labels[row]] == 1:
            continue
        others = torch.arange(len(labels)) != row
        without = copy.deepcopy(moments)
        for name in ("counts", "means", "scatter"):
            getattr(without, name).zero_()
        without.add(rows[others], labels[others])
        scores[row] = gaussian_discriminant(without, chosen).scores(rows[[row]])[0]
    return scores


def relative(scores: Tensor) -> np.ndarray:
    return (scores - scores[:, :1]).numpy()


@pytest.mark.parametrize("counts", [(25, 7, 3, 2, 1), (6, 4), (2, 1), (5,)])
@pytest.mark.parametrize("dim", [4, 40])
@pytest.mark.parametrize(("borrowing", "voices"), [("similar", "equal"), ("grand", "equal"), ("similar", "pooled")])
def test_scores_equal_those_of_classifiers_made_again(
    counts: tuple[int, ...], dim: int, borrowing: str, voices: str
) -> None:
    rows, labels = drawn(counts, dim)
    moments = DiscriminantMoments.of(rows, labels, voices=voices)
    for chosen in (
        DiscriminantSettings(0.4, 3.0, borrowing, temperature=2.0),
        DiscriminantSettings(0.05, 0.0, borrowing, prior="frequency"),
        DiscriminantSettings(1.0, 10.0, borrowing, bandwidth=5.0),
    ):
        expected = relative(refitted(moments, rows, labels, chosen))
        found = relative(leave_one_out_scores(moments, rows, labels, chosen))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.nanmax(np.abs(expected), initial=1.0))


def test_an_absent_class_and_one_that_is_alone() -> None:
    rows, labels = drawn((5, 1, 4), 3)
    labels = torch.tensor([0, 3, 4])[labels]
    moments = DiscriminantMoments.of(rows, labels, 6)
    scores = leave_one_out_scores(moments, rows, labels)
    assert torch.equal(scores.isnan().any(1), labels == 3)
    kept = scores[labels != 3]
    assert bool((kept[:, [1, 2, 5]] == -torch.inf).all())
    assert bool(kept[:, [0, 3, 4]].isfinite().all())


@pytest.mark.parametrize("criterion", ["error", "log_loss"])
@pytest.mark.parametrize("prior", ["uniform", "frequency"])
def test_the_chosen_settings_are_the_best_of_the_grid(
    criterion: str, prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semscale_pl.geometry.leave_one_out._ROWS_AT_ONCE", 7)
    rows, labels = drawn((20, 9, 4, 2, 1), 5, apart=0.7)
    moments = DiscriminantMoments.of(rows, labels)
    fixed = DiscriminantSettings(prior=prior)
    grid = {"shrinkages": (0.1, 0.6), "ks": (0.0, 2.0, 8.0), "temperatures": (0.5, 1.0, 2.0, 4.0)}
    found = choose_settings(moments, rows, labels, fixed, criterion=criterion, **grid)
    tried = iter(found.tried)
    for shrinkage in grid["shrinkages"]:
        for k in grid["ks"]:
            best = (np.inf, np.inf)
            for temperature in grid["temperatures"]:
                chosen = DiscriminantSettings(shrinkage, k, prior=prior, temperature=temperature)
                scores = refitted(moments, rows, labels, chosen)
                losses = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
                wrong = (scores.argmax(1) != labels).double()
                loss, error = (
                    float(np.mean([float(part[labels == label].mean()) for label in range(4)]))
                    for part in (losses, wrong)
                )
                best = min(best, (loss, error))
            entry = next(tried)
            assert (entry["shrinkage"], entry["k"]) == (shrinkage, k)
            assert (entry["log_loss"], entry["error"]) == pytest.approx(best, rel=1e-8)
    winner = min(found.tried, key=lambda entry: entry[criterion])
    assert (found.settings.shrinkage, found.settings.k) == (winner["shrinkage"], winner["k"])
    assert found.settings.prior == prior


def test_without_two_samples_of_any_class_the_given_settings_stand() -> None:
    rows, labels = drawn((1, 1, 1), 3)
    given_ones = DiscriminantSettings(0.3, 7.0)
    assert choose_settings(DiscriminantMoments.of(rows, labels), rows, labels, given_ones) == (given_ones, [])


def test_no_shrinkage_and_other_samples_are_refused() -> None:
    rows, labels = drawn((5, 4), 3)
    moments = DiscriminantMoments.of(rows, labels)
    with pytest.raises(ValueError, match="Expected a `shrinkage` above 0 for leave-one-out"):
        leave_one_out_scores(moments, rows, labels, DiscriminantSettings(0.0))
    with pytest.raises(ValueError, match=re.escape("Expected the 9 samples that the moments are of, but got 8")):
        leave_one_out_scores(moments, rows[:8], labels[:8])


@pytest.mark.parametrize("reach", [0.0, 1e-6, 0.05, 0.9, 0.999])
def test_interpolated_inverses_equal_those_at_each_trace(reach: float) -> None:
    generator = torch.Generator().manual_seed(0)
    traces = 7.0 * (1.0 - reach * torch.rand(200, 1, generator=generator, dtype=torch.float64))
    values = torch.tensor([0.0, 1e-9, 0.02, 1.0, 50.0])
    nodes, spread = interpolation(traces, 7.0)
    assert len(nodes) < (20 if reach < 0.1 else 100)
    torch.testing.assert_close(spread @ (1.0 / (values + nodes)), 1.0 / (values + traces), rtol=1e-11, atol=0.0)


def test_where_nothing_is_left_of_the_spread_nothing_is_interpolated() -> None:
    traces = torch.linspace(0.0, 2.0, 100, dtype=torch.float64)[:, None]
    nodes, spread = interpolation(traces, 2.0)
    assert torch.equal(nodes, traces)
    assert torch.equal(spread, torch.eye(100, dtype=torch.float64))
