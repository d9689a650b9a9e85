"""The measure itself: the volume that features span, in bits, always from log-determinants."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from semscale_pl.gram import gram, singular_values
from semscale_pl.logdet import ESTIMATORS, bits_of_grams, bits_of_singular_values
from semscale_pl.validation import check_choice, check_features, check_unit, resolve_ratio

Ratio = float | Literal["dim"]


@torch.no_grad()
def volume(
    features: Tensor, *, unit: float = 1.0, ratio: Ratio = "dim", center: bool = True, estimator: str = "plain"
) -> Tensor:
    """Compute the volume that features span: 1/2 log2 det(I + ratio/(m unit^2) Z Z^T).

    Args:
        features: (m, d), one sample a row, m >= 1.
        unit: length of the ruler, in the features' own unit.
        ratio: ``"dim"`` for the paper's d/m; a float r for r/m (the authors' package has 1.0).
        center: whether the mean is taken off first; one sample, or identical ones, then give exactly 0.
        estimator: ``plain``, or ``shrunk`` for the OAS-shrunk covariance, which depends less on m where m is small.

    Returns:
        () bits, to a relative 1e-6 of the exact value or better.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or another argument is out of range.

    Example:
        >>> round(volume(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 6)  # 1/2 log2(1 + 2/2 * 2)
        0.792481

    Reference: Ma et al. (ICLR 2023), section 2 and appendix G.
    """
    check_features(features, min_rows=1)
    scale = root_of(features.shape[1], unit, ratio, estimator) / math.sqrt(features.shape[0])
    return scaled_volume(features, scale, center, estimator)


def semantic_scale(features: Tensor, *, unit: float = 1.0, ratio: Ratio = "dim", estimator: str = "plain") -> Tensor:
    """Compute the semantic scale S' of one class: the volume of its centred features.

    Args:
        features: (m, d), one sample a row, m >= 1.
        unit: see :func:`volume`.
        ratio: see :func:`volume`.
        estimator: see :func:`volume`.

    Returns:
        () bits; 0 for a single sample or identical ones, above 0 otherwise.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or another argument is out of range.

    Example:
        >>> round(semantic_scale(torch.tensor([[0.0], [2.0]])).item(), 6)  # variance 1: 1/2 log2(1 + 1)
        0.5

    Reference: Ma et al. (ICLR 2023), section 2, S' = Vol(Z).
    """
    return volume(features, unit=unit, ratio=ratio, estimator=estimator)


@torch.no_grad()
def parallelotope_volume(vectors: Tensor) -> Tensor:
    """Compute the volume sqrt(det(Z^T Z)) of the parallelotope that k vectors span.

    Args:
        vectors: (n, k), one vector a column.

    Returns:
        () volume: the length for k = 1, abs(det) for k = n, 0 for k > n.

    Raises:
        TypeError: the vectors are not a floating-point tensor.
        ValueError: they are not a finite matrix.

    Example:
        >>> round(parallelotope_volume(torch.tensor([[3.0], [4.0]])).item(), 6)
        5.0

    Reference: Ma et al. (ICLR 2023), appendix G.
    """
    check_features(vectors, "vectors", min_rows=1)
    if vectors.shape[1] > vectors.shape[0]:
        return vectors.new_zeros((), dtype=torch.float64)
    # det(Z^T Z) is the squared product of the diagonal of the triangular factor, without squaring the condition.
    return torch.linalg.qr(vectors.double(), mode="r").R.diagonal().abs().prod()


def root_of(dim: int, unit: float, ratio: Ratio, estimator: str) -> float:
    """Check the settings and return sqrt(ratio) / unit, which divided by sqrt(m) scales the features."""
    check_unit(unit)
    check_choice(estimator, ESTIMATORS, "estimator")
    return math.sqrt(resolve_ratio(ratio, dim)) / unit


def scaled_volume(features: Tensor, scale: float, center: bool, estimator: str) -> Tensor:
    """Compute 1/2 log2 det(I + scale^2 Z Z^T) of checked features, by singular values where the Gram matrix fails."""
    num_rows, dim = features.shape
    count = torch.tensor([num_rows], device=features.device)
    bits, exact = bits_of_grams(gram(features, scale, center)[None], count, dim, estimator)
    if not bool(exact):
        values = singular_values(features, scale, center)
        bits = bits_of_singular_values(values[None], count, dim, estimator)
    return bits[0]
