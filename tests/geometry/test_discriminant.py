"""The closed-form Gaussian classifier against scikit-learn, naive loops in numpy, and what moments have to keep."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf, oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from semscale_pl.geometry import (
    ClassMoments,
    DiscriminantMoments,
    DiscriminantSettings,
    estimated_shrinkage,
    gaussian_discriminant,
)

COUNTS, DIM = (30, 9, 4, 1), 6


def drawn(seed: int = 0, counts: tuple[int, ...] = COUNTS, dim: int = DIM) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    rows = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64) @ mixing
    rows += 3.0 * torch.randn(len(counts), dim, generator=generator, dtype=torch.float64)[labels]
    shuffled = torch.randperm(len(labels), generator=generator)
    return rows[shuffled], labels[shuffled]


def naive_covariance(rows: np.ndarray, labels: np.ndarray, voices: str) -> np.ndarray:
    covariances, degrees = [], []
    for label in np.unique(labels):
        part = rows[labels == label]
        if len(part) > 1:
            covariances.append(np.cov(part.T, ddof=1))
            degrees.append(len(part) - 1)
    return np.average(covariances, axis=0, weights=None if voices == "equal" else degrees)


def naive_scores(rows: np.ndarray, labels: np.ndarray, at: np.ndarray, chosen: DiscriminantSettings) -> np.ndarray:
    covariance, dim = naive_covariance(rows, labels, "equal"), rows.shape[1]
    covariance = (1 - chosen.shrinkage) * covariance + chosen.shrinkage * np.trace(covariance) / dim * np.eye(dim)
    classes = np.unique(labels)
    means = np.stack([rows[labels == label].mean(0) for label in classes])
    pairs = [(means[a] - means[b]) @ (means[a] - means[b]) for a in range(len(means)) for b in range(len(means))]
    bandwidth = chosen.bandwidth or 0.1 * sum(pairs) / (len(means) * (len(means) - 1))
    scores = np.zeros((len(at), len(classes)))
    for c in range(len(classes)):
        count = int((labels == classes[c]).sum())
        if chosen.borrowing == "grand":
            borrowed = means.mean(0)
        else:
            similar = np.array(
                [0.0 if j == c else np.exp(-pairs[c * len(means) + j] / bandwidth) for j in range(len(means))]
            )
            borrowed = similar @ means / similar.sum()
        mean = (count * means[c] + chosen.k * borrowed) / (count + chosen.k)
        for i, point in enumerate(at):
            scores[i, c] = -0.5 * (point - mean) @ np.linalg.solve(covariance, point - mean) / chosen.temperature
    return scores


def relative(scores: Tensor | np.ndarray) -> np.ndarray:
    """Leave out what all classes share."""
    values = np.asarray(scores)
    return values - values[:, :1]


class WithinShrunk:
    """Unbiased covariance shrunk to the sphere, for scikit-learn's ``covariance_estimator``."""

    def __init__(self, shrinkage: float) -> None:
        self.shrinkage = shrinkage

    def fit(self, rows: np.ndarray) -> WithinShrunk:
        plain = np.cov(rows.T, ddof=1)
        level = np.trace(plain) / len(plain)
        self.covariance_ = (1 - self.shrinkage) * plain + self.shrinkage * level * np.eye(len(plain))
        return self


@pytest.mark.parametrize("dim", [6, 60])
@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
def test_equal_voices_are_scikit_learns_uniform_priors(dim: int, shrinkage: float) -> None:
    rows, labels = drawn(counts=(30, 9, 4, 2), dim=dim)
    priors = [0.25] * 4
    reference = LinearDiscriminantAnalysis("lsqr", priors=priors, covariance_estimator=WithinShrunk(shrinkage))
    reference.fit(rows.numpy(), labels.numpy())
    found = gaussian_discriminant(DiscriminantMoments.of(rows, labels), DiscriminantSettings(shrinkage, k=0.0))
    expected = relative(reference.decision_function(rows.numpy()))
    np.testing.assert_allclose(relative(found.scores(rows)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_pooled_voices_are_scikit_learns_own_priors(shrinkage: float) -> None:
    rows, labels = drawn(counts=(40, 9, 4, 3))
    reference = LinearDiscriminantAnalysis("lsqr", shrinkage=shrinkage).fit(rows.numpy(), labels.numpy())
    moments = DiscriminantMoments.of(rows, labels, voices="pooled")
    biased = (len(rows) - 4) / len(rows)  # scikit-learn divides the scatter by N
    chosen = DiscriminantSettings(shrinkage, k=0.0, prior="frequency", temperature=biased)
    found = relative(gaussian_discriminant(moments, chosen).scores(rows))
    np.testing.assert_allclose(found, relative(reference.decision_function(rows.numpy())), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [6, 60])
def test_shrinkage_is_estimated_as_by_scikit_learn_from_the_residuals(dim: int) -> None:
    rows, labels = drawn(counts=(40, 9, 4, 3), dim=dim)
    means = torch.stack([rows[labels == label].mean(0) for label in range(4)])
    residuals = (rows - means[labels]).numpy()
    moments = DiscriminantMoments.of(rows, labels, voices="pooled")
    expected = ledoit_wolf(residuals, assume_centered=True)[1]
    assert estimated_shrinkage(moments, "ledoit_wolf", rows, labels) == pytest.approx(expected, rel=1e-8)
    expected = oas(residuals, assume_centered=True)[1]
    assert estimated_shrinkage(moments, "oas") == pytest.approx(expected, rel=1e-8)
    equal = DiscriminantMoments.of(*drawn(counts=(8, 8, 8), dim=dim))
    pooled = DiscriminantMoments.of(*drawn(counts=(8, 8, 8), dim=dim), voices="pooled")
    assert estimated_shrinkage(equal, "oas") == pytest.approx(estimated_shrinkage(pooled, "oas"), rel=1e-12)


@pytest.mark.parametrize("borrowing", ["similar", "grand"])
@pytest.mark.parametrize("dim", [6, 60])
def test_scores_equal_those_of_naive_loops(borrowing: str, dim: int) -> None:
    rows, labels = drawn(dim=dim)
    chosen = DiscriminantSettings(0.4, 3.0, borrowing, temperature=2.5)
    found = gaussian_discriminant(DiscriminantMoments.of(rows, labels), chosen).scores(rows[:7])
    expected = naive_scores(rows.numpy(), labels.numpy(), rows[:7].numpy(), chosen)
    np.testing.assert_allclose(relative(found), relative(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("voices", ["equal", "pooled"])
def test_covariance_equals_naive_loops_also_from_class_moments(voices: str) -> None:
    rows, labels = drawn()
    rows += 1e4
    expected = torch.from_numpy(naive_covariance(rows.numpy(), labels.numpy(), voices))
    moments = DiscriminantMoments.of(rows, labels, voices=voices)
    torch.testing.assert_close(moments.covariance(), expected, rtol=1e-8, atol=1e-8)
    classes = ClassMoments(4, DIM)
    classes.add(rows, labels)
    of_classes = DiscriminantMoments.of_classes(classes, voices)
    torch.testing.assert_close(of_classes.covariance(), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(of_classes.means, moments.means)


@given(st.integers(0, 99), st.sampled_from(["equal", "pooled"]), st.lists(st.integers(0, 43), max_size=3))
@settings(max_examples=25, deadline=None)
def test_parts_in_any_order_and_rows_added_and_removed(seed: int, voices: str, cuts: list[int]) -> None:
    rows, labels = drawn(seed)
    sizes = torch.bincount(labels)
    expected = DiscriminantMoments.of(rows, labels, voices=voices)
    parts = []
    for part in np.split(np.arange(len(labels)), sorted(cuts)):
        parts.append(DiscriminantMoments(4, DIM, voices, sizes))
        parts[-1].add(rows[part], labels[part])
    others, other_labels = drawn(seed + 1)
    parts[0].add(others, other_labels)
    parts[0].remove(others[::2], other_labels[::2])
    parts[0].remove(others[1::2], other_labels[1::2])
    for order in (parts, parts[::-1]):
        total = order[0]
        for part in order[1:]:
            total = total.joined(part)
        assert torch.equal(total.counts, expected.counts)
        torch.testing.assert_close(total.means, expected.means, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(total.covariance(), expected.covariance(), rtol=1e-9, atol=1e-9)


def test_a_class_that_comes_later_and_goes_again() -> None:
    rows, labels = drawn()
    old = labels < 3
    moments = DiscriminantMoments.of(rows[old], labels[old]).extended(5)
    before = moments.covariance().clone()
    new, of_new = drawn(5, (0, 0, 0, 0, 8))
    moments.add(new, of_new)
    everything = DiscriminantMoments.of(torch.cat([rows[old], new]), torch.cat([labels[old], of_new]), 5)
    torch.testing.assert_close(moments.covariance(), everything.covariance(), rtol=1e-11, atol=1e-11)
    moments.remove(new, of_new)
    torch.testing.assert_close(moments.covariance(), before, rtol=1e-11, atol=1e-11)
    assert moments.weights[4] == 0.0
    assert moments.means[4].abs().max() == 0.0


@given(st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_permuted_classes_and_affine_maps(seed: int) -> None:
    rows, labels = drawn(seed)
    chosen = DiscriminantSettings(0.0, 2.0, "grand")
    scores = relative(gaussian_discriminant(DiscriminantMoments.of(rows, labels), chosen).scores(rows))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(4, generator=generator)
    permuted = gaussian_discriminant(DiscriminantMoments.of(rows, order[labels]), chosen).scores(rows)
    np.testing.assert_allclose(relative(permuted[:, order]), scores, rtol=1e-8, atol=1e-8)
    mapped = rows @ (torch.eye(DIM) + 0.2 * torch.randn(DIM, DIM, generator=generator)).double() + 5.0
    found = gaussian_discriminant(DiscriminantMoments.of(mapped, labels), chosen).scores(mapped)
    np.testing.assert_allclose(relative(found), scores, rtol=1e-6, atol=1e-6)


def test_an_absent_class_is_never_predicted_and_single_samples_give_the_nearest_mean() -> None:
    rows, labels = drawn()
    scores = gaussian_discriminant(DiscriminantMoments.of(rows, labels, 6)).scores(rows)
    assert bool((scores[:, 4:] == -torch.inf).all())
    assert bool(scores[:, :4].isfinite().all())
    single = DiscriminantMoments.of(rows[:3], torch.arange(3))
    assert single.covariance().abs().max() == 0.0
    found = gaussian_discriminant(single, DiscriminantSettings(k=0.0)).scores(rows).argmax(1)
    assert torch.equal(found, torch.cdist(rows, rows[:3]).argmin(1))


def test_priors_move_the_offsets_alone() -> None:
    rows, labels = drawn()
    moments = DiscriminantMoments.of(rows, labels)
    plain = gaussian_discriminant(moments)
    given_prior = torch.tensor([0.1, 0.2, 0.3, 0.4])
    moved = gaussian_discriminant(moments, DiscriminantSettings(prior=given_prior))
    torch.testing.assert_close(moved.offset - plain.offset, given_prior.double().log())
    counted = gaussian_discriminant(moments, DiscriminantSettings(prior="frequency"))
    torch.testing.assert_close(counted.offset - plain.offset, (torch.tensor(COUNTS).double() / sum(COUNTS)).log())
    with pytest.raises(ValueError, match="Expected `prior` to be 4 probabilities above 0, but got shape"):
        gaussian_discriminant(moments, DiscriminantSettings(prior=torch.tensor([0.5, 0.5])))


def test_wrong_removals_and_parts_are_refused_and_change_nothing() -> None:
    rows, labels = drawn()
    moments = DiscriminantMoments.of(rows, labels)
    before = moments.scatter.clone()
    with pytest.raises(ValueError, match=re.escape("remove at most the 1 samples that class 3 has, but got 2")):
        moments.remove(rows[:2], torch.tensor([3, 3]))
    assert torch.equal(moments.scatter, before)
    other = DiscriminantMoments.of(rows[:20], labels[:20], 4)
    with pytest.raises(ValueError, match="Expected both parts to weigh class"):
        moments.joined(other)
    with pytest.raises(ValueError, match="Expected moments of at least one sample, but got none"):
        gaussian_discriminant(DiscriminantMoments(3, 2))
    with pytest.raises(ValueError, match=re.escape("Expected `class_sizes` of shape (3,)")):
        DiscriminantMoments(3, 2, class_sizes=[1, 2])
