"""Covariances of the classes' own against scikit-learn's quadratic discriminant and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from torch import Tensor

from semscale_pl.geometry import (
    ClassMoments,
    DiscriminantMoments,
    DiscriminantSettings,
    class_covariances,
    gaussian_discriminant,
    leading_directions,
)


def drawn(counts: tuple[int, ...], dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dim)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    mixings = torch.randn(len(counts), dim, dim, generator=generator, dtype=torch.float64)
    rows = torch.randn(len(labels), 1, dim, generator=generator, dtype=torch.float64) @ mixings[labels]
    shifts = 2.0 * torch.randn(len(counts), dim, generator=generator, dtype=torch.float64)
    return rows.squeeze(1) + shifts[labels] + 20.0, labels


def fitted(rows: Tensor, labels: Tensor, number: int, settings: DiscriminantSettings, pseudo: float) -> tuple:
    moments = DiscriminantMoments.of(rows, labels)
    directions = leading_directions(moments, number)
    projected = ClassMoments(len(moments.counts), directions.shape[1])
    projected.add(rows @ directions, labels)
    return moments, directions, class_covariances(moments, projected, directions, settings, pseudo)


class Unbiased:
    """For scikit-learn's ``covariance_estimator``, whose own divides by n."""

    def fit(self, rows: np.ndarray) -> Unbiased:
        self.covariance_ = np.cov(rows.T, ddof=1).reshape(rows.shape[1], rows.shape[1])
        return self


def quadratic(rows: Tensor, labels: Tensor) -> np.ndarray:
    model = QuadraticDiscriminantAnalysis(solver="eigen", priors=[1 / 3] * 3, covariance_estimator=Unbiased())
    return model.fit(rows.numpy(), labels.numpy()).decision_function(rows.numpy())


def relative(scores: Tensor | np.ndarray) -> np.ndarray:
    values = np.asarray(scores)
    return values - values[:, :1]


def naive_means(moments: DiscriminantMoments, settings: DiscriminantSettings) -> np.ndarray:
    means, counts = moments.means.numpy(), moments.counts.numpy()
    squares = ((means[:, None] - means[None]) ** 2).sum(2)
    weights = np.exp(-squares / (0.1 * squares.sum() / (len(means) * (len(means) - 1))))
    np.fill_diagonal(weights, 0.0)
    borrowed = weights @ means / weights.sum(1, keepdims=True)
    return (counts[:, None] * means + settings.k * borrowed) / (counts[:, None] + settings.k)


def test_in_all_directions_they_are_scikit_learns_quadratic_discriminant() -> None:
    rows, labels = drawn((30, 20, 12), 5)
    settings = DiscriminantSettings(0.0, k=0.0)
    moments, _, found = fitted(rows, labels, 5, settings, 0.0)
    scores = gaussian_discriminant(moments, settings).scores(rows) + found.scores(rows)
    expected = quadratic(rows, labels)
    np.testing.assert_allclose(relative(scores), relative(expected), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("number", [1, 3])
def test_in_a_subspace_they_exchange_its_linear_for_its_quadratic_discriminant(number: int) -> None:
    rows, labels = drawn((30, 20, 12), 6)
    settings = DiscriminantSettings(0.0, k=0.0)
    _, directions, found = fitted(rows, labels, number, settings, 0.0)
    inside = rows @ directions
    linear = gaussian_discriminant(DiscriminantMoments.of(inside, labels), settings).scores(inside)
    expected = relative(quadratic(inside, labels)) - relative(linear)
    np.testing.assert_allclose(relative(found.scores(rows)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [4, 70])
def test_they_equal_naive_densities_with_rare_classes_and_more_features_than_samples(dim: int) -> None:
    rows, labels = drawn((25, 8, 3, 1), dim)
    settings, pseudo = DiscriminantSettings(0.3, 2.0, temperature=1.7), 5.0
    moments, directions, found = fitted(rows, labels, 3, settings, pseudo)
    parts = [rows[labels == label].numpy() for label in range(4)]
    own = [np.cov(part.T, ddof=1) if len(part) > 1 else np.zeros((dim, dim)) for part in parts]
    common = np.mean(own[:3], axis=0)
    sphere = 0.3 * np.trace(common) / dim * np.eye(dim)
    common = 0.7 * common + sphere
    basis = directions.numpy()
    means = naive_means(moments, settings)
    expected = np.zeros((len(rows), 4))
    for c, part in enumerate(parts):
        mixed = ((len(part) - 1) * (0.7 * own[c] + sphere) + pseudo * common) / (len(part) - 1 + pseudo)
        for covariance, sign in ((mixed, 1.0), (common, -1.0)):
            inside = multivariate_normal(means[c] @ basis, basis.T @ covariance @ basis)
            expected[:, c] += sign * inside.logpdf(rows.numpy() @ basis) / 1.7
    np.testing.assert_allclose(found.scores(rows).numpy(), expected, rtol=1e-7, atol=1e-7)
    assert found.quadratic[3].abs().max() < 1e-12  # one sample: the shared covariance


def test_singular_covariances_are_left_shared_and_directions_end_at_the_rank() -> None:
    rows, labels = drawn((6, 3, 2), 30)
    moments, directions, found = fitted(rows, labels, 50, DiscriminantSettings(0.0, k=0.0), 0.0)
    assert directions.shape == (30, 11 - 3)
    assert found.scores(rows).abs().max() == 0.0  # without shrinkage no class has full rank there
    same = DiscriminantMoments.of(torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
    assert leading_directions(same, 2).shape == (3, 0)
    assert moments.present.all()
