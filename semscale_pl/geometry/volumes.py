"""The measure itself: the volume that features span, in bits, from log-determinants of centred Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from semscale_pl.options import check
from semscale_pl.validation import ArrayLike, as_features

Ratio = float | Literal["dim"]

# Float64 numbers held at once: 32 MiB.
BLOCK_ELEMENTS = 2**22
# Below this trace, log det(I + G) is its series to second order (relative error below 1e-8); a Cholesky factor of I + G
# would have rounded G away.
_SMALL_TRACE = 1e-4
# Relative error above which a Gram matrix is not trusted.
_TOLERANCE = 1e-7


@torch.no_grad()
def volume(
    features: ArrayLike, *, unit: float = 1.0, ratio: Ratio = "dim", center: bool = True, estimator: str = "plain"
) -> Tensor:
    """Compute the volume that features span: 1/2 log2 det(I + ratio/(m unit^2) Z Z^T).

    Args:
        features: (m, d), one sample a row, m >= 1: a tensor, an array or nested lists.
        unit: length that counts as 1, in the unit of the features.
        ratio: ``"dim"`` for the paper's d/m; a float r for r/m (the authors' package has 1.0).
        center: whether the mean is taken off first; one sample, or identical ones, then give exactly 0.
        estimator: ``plain``, or ``shrunk`` for the OAS-shrunk covariance, which depends less on m where m is small.

    Returns:
        () bits, to a relative 1e-6 of the exact value or better.

    Raises:
        TypeError: the features are not floating-point numbers.
        ValueError: they are not a finite, non-empty matrix, or another argument is out of range.

    Example:
        >>> round(volume(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 6)  # 1/2 log2(1 + 2/2 * 2)
        0.792481

    Reference: Ma et al. (ICLR 2023), section 2 and appendix G.
    """
    features = as_features(features, min_rows=1)
    scale = scale_factor(features.shape[1], unit, ratio, estimator) / math.sqrt(features.shape[0])
    return scaled_volume(features, scale, center, estimator)


def semantic_scale(features: ArrayLike, *, unit: float = 1.0, ratio: Ratio = "dim", estimator: str = "plain") -> Tensor:
    """Compute the semantic scale S' of one class: the volume of its centred features.

    Args:
        features, unit, ratio, estimator: see :func:`volume`.

    Returns:
        () bits; 0 for a single sample or identical ones, above 0 otherwise.

    Raises:
        TypeError, ValueError: see :func:`volume`.

    Example:
        >>> round(semantic_scale(torch.tensor([[0.0], [2.0]])).item(), 6)  # variance 1: 1/2 log2(1 + 1)
        0.5

    Reference: Ma et al. (ICLR 2023), section 2, S' = Vol(Z).
    """
    return volume(features, unit=unit, ratio=ratio, estimator=estimator)


@torch.no_grad()
def parallelotope_volume(vectors: ArrayLike) -> Tensor:
    """Compute the volume sqrt(det(Z^T Z)) of the parallelotope that k vectors span.

    Args:
        vectors: (n, k), one vector a column.

    Returns:
        () volume: the length for k = 1, abs(det) for k = n, 0 for k > n.

    Raises:
        TypeError: the vectors are not floating-point numbers.
        ValueError: they are not a finite matrix.

    Example:
        >>> round(parallelotope_volume(torch.tensor([[3.0], [4.0]])).item(), 6)
        5.0

    Reference: Ma et al. (ICLR 2023), appendix G.
    """
    vectors = as_features(vectors, "vectors", min_rows=1)
    if vectors.shape[1] > vectors.shape[0]:
        return vectors.new_zeros((), dtype=torch.float64)
    # det(Z^T Z) is the squared product of the diagonal of the triangular factor, without squaring the condition.
    return torch.linalg.qr(vectors.double(), mode="r").R.diagonal().abs().prod()


def scale_factor(dim: int, unit: float, ratio: Ratio, estimator: str) -> float:
    """Check the settings and return sqrt(ratio) / unit, which divided by sqrt(m) scales the features."""
    check(ratio=ratio, unit=unit, estimator=estimator)
    return math.sqrt(float(dim if ratio == "dim" else ratio)) / unit


def scaled_volume(features: Tensor, scale: float, center: bool, estimator: str) -> Tensor:
    """Compute 1/2 log2 det(I + scale^2 Z Z^T) of checked features, by singular values where the Gram matrix fails."""
    num_rows, dim = features.shape
    count = torch.tensor([num_rows], device=features.device)
    bits, exact = bits_of_grams(gram(features, scale, center)[None], count, dim, estimator)
    if not bool(exact):
        values = _singular_values(features, scale, center)
        bits = bits_of_singular_values(values[None], count, dim, estimator)
    return bits[0]


def gram(features: Tensor, scale: float = 1.0, center: bool = True) -> Tensor:
    """Compute the smaller Gram matrix of the scaled, centred features (m, d): (n, n) float64 with n = min(m, d)."""
    size = min(features.shape)
    total = torch.zeros(size, size, dtype=torch.float64, device=features.device)
    for block in centred_blocks(features, scale, center):
        total.addmm_(block.T, block)
    return total


def _singular_values(features: Tensor, scale: float, center: bool) -> Tensor:
    """Compute the singular values (min(m, d),) of the scaled, centred features, the largest first, block after block.

    Slower than :func:`gram`, but a small singular value beside a large one keeps its digits: nothing is squared.
    """
    triangle = torch.zeros(0, min(features.shape), dtype=torch.float64, device=features.device)
    for block in centred_blocks(features, scale, center):
        stacked = torch.cat([triangle, block])
        triangle = torch.linalg.qr(stacked, mode="r").R if stacked.shape[0] > stacked.shape[1] else stacked
    values = torch.linalg.svdvals(triangle)
    if center and features.shape[0] <= features.shape[1]:
        values[-1] = 0.0  # m centred rows span at most m - 1 dimensions; what is found in the last one is rounding
    return values


def centred_blocks(features: Tensor, scale: float, center: bool) -> Iterator[Tensor]:
    """Yield ``scale * (features - mean)`` in float64 blocks whose Gram matrices add up to the smaller Gram matrix.

    The mean is taken of the differences to the first sample. So identical samples give exact zeros, and a large common
    offset costs no digits.

    Yields:
        (k, n) with n = min(m, d): rows of the centred matrix where m >= d, else columns.
    """
    num_rows, dim = features.shape
    if num_rows < dim:
        columns = features.split(num_lines(num_rows), dim=1)
        yield from (centred(block.double(), scale, center).T for block in columns)
        return
    blocks = features.split(num_lines(dim))
    if not center:
        yield from (block.double() * scale for block in blocks)
        return
    first = features[0].double()
    total = torch.zeros_like(first)
    for block in blocks:
        total += (block.double() - first).sum(0)
    mean = total / num_rows
    yield from ((block.double() - first).sub_(mean).mul_(scale) for block in blocks)


def centred(features: Tensor, scale: float, center: bool = True) -> Tensor:
    """Return ``scale * (features - mean)`` of a float64 matrix (m, k) at once."""
    if not center:
        return features * scale
    shifted = features - features[0]
    return shifted.sub_(shifted.mean(0)).mul_(scale)


def num_lines(length: int) -> int:
    """Return how many lines of ``length`` numbers make a block; at least one."""
    return max(1, BLOCK_ELEMENTS // max(1, length))


def bits_of_grams(grams: Tensor, counts: Tensor, dim: int, estimator: str = "plain") -> tuple[Tensor, Tensor]:
    """Compute 1/2 log2 det(I + G), with G shrunk first where asked for.

    Args:
        grams: (K, n, n) float64, the Gram matrices G of either side.
        counts: (K,) samples behind each, for the shrinkage.
        dim: d, the dimension of the features.
        estimator: ``plain``, or ``shrunk`` (OAS).

    Returns:
        (K,) bits, and (K,) whether they hold to a relative 1e-7. They do not where G is so large that its rounding
        errors reach the 1 of an eigenvalue of I + G.

    Reference: Chen et al. (IEEE TSP 2010), eq. 23 for OAS.
    """
    traces = grams.diagonal(dim1=1, dim2=2).sum(1)
    squares = grams.square().sum((1, 2))
    inner, shifts = grams.clone(), torch.zeros_like(traces)
    if estimator == "shrunk":
        shifts, shares = _shrinkage(traces, squares / traces / traces, counts, dim)
        inner *= shares[:, None, None]
        traces, squares = traces * shares, squares * shares.square()
    inner.diagonal(dim1=1, dim2=2).add_(1.0)
    factors, failed = torch.linalg.cholesky_ex(inner)
    pivots = factors.diagonal(dim1=1, dim2=2)
    is_small = traces < _SMALL_TRACE
    halves = torch.where(is_small, 0.5 * (traces - 0.5 * squares), pivots.log().sum(1))
    nats = 0.5 * dim * shifts.log1p() + halves
    # An error E of I + G moves log det by tr((I + G)^-1 E), and rounding makes E about eps times the trace.
    error = torch.finfo(torch.float64).eps * (1.0 + traces) * pivots.pow(-2).sum(1)
    return nats / math.log(2.0), is_small | ((failed == 0) & (error < _TOLERANCE * nats))


def raised_bits_of_grams(grams: Tensor, counts: Tensor, dim: int, estimator: str = "plain") -> Tensor:
    """Compute the bits (K,) of :func:`bits_of_grams` without a look at any value, in few operations.

    A matrix that rounding has left indefinite is raised by its rounding error; both factors of all matrices come from
    one call, since whether the second is needed only the device knows.
    """
    traces = grams.diagonal(dim1=1, dim2=2).sum(1)
    squares = grams.square().sum((1, 2))
    shifts = None
    if estimator == "shrunk":
        shifts, shares = _shrinkage(traces, squares / traces / traces, counts, dim)
        grams, traces, squares = grams * shares[:, None, None], traces * shares, squares * shares.square()
    inner = grams.repeat(2, 1, 1, 1)
    diagonals = inner.diagonal(dim1=2, dim2=3)
    diagonals += 1.0
    diagonals[1].add_((dim * torch.finfo(torch.float64).eps * traces)[:, None])
    factors, failed = torch.linalg.cholesky_ex(inner)
    logs = factors.diagonal(dim1=2, dim2=3).log().sum(2)
    nats = torch.where(failed[0] > 0, logs[1], logs[0])
    nats = torch.where(traces < _SMALL_TRACE, 0.5 * torch.sub(traces, squares, alpha=0.5), nats)
    return (nats if shifts is None else 0.5 * dim * shifts.log1p() + nats) / math.log(2.0)


def bits_of_singular_values(values: Tensor, counts: Tensor, dim: int, estimator: str = "plain") -> Tensor:
    """Compute the bits (K,) of :func:`bits_of_grams` from the square roots (K, n) of the eigenvalues of G."""
    shifts = torch.zeros_like(values[:, 0])
    if estimator == "shrunk":
        relative = values / values.amax(1, keepdim=True)
        spread = relative.pow(4).sum(1) / relative.square().sum(1).square()
        shifts, shares = _shrinkage(values.square().sum(1), spread, counts, dim)
        values = values * shares.sqrt()[:, None]
    # hypot does not overflow where a square would; log1p keeps the digits where the square is small.
    logs = torch.where(values < 1.0, 0.5 * values.square().log1p(), torch.hypot(values, torch.ones_like(values)).log())
    return (0.5 * dim * shifts.log1p() + logs.sum(1)) / math.log(2.0)


def _shrinkage(traces: Tensor, spread: Tensor, counts: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Write I + (1 - rho) G + rho tr(G)/d I as (1 + shift)(I + share G), which serves both sides of the Gram matrix.

    The spread is tr(G^2) / tr(G)^2: 1/d for a sphere, 1 for a line; undefined for G = 0.
    """
    spread = torch.where(spread.isnan(), 1.0, spread)
    slack = ((counts + 1.0) * (spread - 1.0 / dim)).clamp_min(torch.finfo(torch.float64).tiny)
    rho = ((spread + 1.0) / slack).clamp(max=1.0)
    shifts = rho * traces / dim
    return shifts, (1.0 - rho) / (1.0 + shifts)
