"""One class from its rows: count, centre, volume, spectrum and rank, in float64 and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import iadd

import numpy as np
import torch
from scipy.linalg import lapack

from semscale_pl.geometry.volumes import bits_of_grams, bits_of_singular_values, scaled_volume

# Beyond, sums of squares overflow in float64. Float32 numbers cannot get there.
LARGEST = 1e100
# An eigenvalue below this share of the largest counts as none.
_RANK_TOLERANCE = 1e-10
# Relative error above which a Cholesky factor is not trusted; results are promised to 1e-6.
_TOLERANCE = 1e-7
# Below this trace, the 1 of I + G would round G away.
_SMALL_TRACE = 1e-4
# Float64 numbers of a block of centred rows: 4 MiB, which a CPU's cache takes.
_BLOCK_ELEMENTS = 2**19


@dataclass(frozen=True)
class ClassSettings:
    """How a class is measured."""

    scale_factor: float  # sqrt(ratio) / unit, of all features
    spectrum: int = 64  # largest eigenvalues of each covariance to keep; 0 computes none
    shrunk: bool = False  # whether to compute the scale of the OAS-shrunk covariance too


@dataclass(frozen=True)
class ClassStatistics:
    """The numbers of one class."""

    count: int
    mean: np.ndarray  # (d,)
    variances: np.ndarray  # (d,)
    bits: float  # semantic scale S'
    shrunk_bits: float  # with the OAS-shrunk covariance; NaN where not asked for
    eigenvalues: np.ndarray  # (k,) largest of the covariance, descending; empty where not asked for
    rank: int  # of the covariance; -1 where no eigenvalues were asked for
    distinct: int  # samples that differ; -1 where they were not compared


@dataclass(frozen=True)
class Centre:
    """A mean as a row plus the mean difference to it, so that a large common offset costs no digits.

    Args:
        first, delta: (d,) float64.
        bounded: whether no number of a row is beyond :data:`LARGEST`.
    """

    first: np.ndarray
    delta: np.ndarray
    bounded: bool = True

    @property
    def mean(self) -> np.ndarray:
        """The mean, (d,)."""
        return self.first + self.delta

    @property
    def is_finite(self) -> bool:
        """Whether all rows were finite, and not too large to be squared."""
        return self.bounded and bool(np.isfinite(self.mean).all())


def statistics_of_rows(rows: np.ndarray, settings: ClassSettings) -> ClassStatistics | None:
    """Compute the numbers of a class whose rows (m, d), m >= 1, are in memory; None where a feature is not finite.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    count, dim = rows.shape
    centre = centre_of(rows)
    if not centre.is_finite:
        return None
    if count < dim:
        gram, variances = _gram_of_columns(rows, centre), _variances_of(rows, centre)
    else:
        gram = scatter_of(rows, centre)
        variances = gram.diagonal() / count

    def exactly() -> float:
        return float(scaled_volume(torch.from_numpy(rows), settings.scale_factor / math.sqrt(count), True, "plain"))

    return statistics_of_sums(centre, count, gram, variances, settings, _num_distinct(rows), exactly)


def statistics_of_sums(
    centre: Centre,
    count: int,
    gram: np.ndarray,
    variances: np.ndarray,
    settings: ClassSettings,
    distinct: int = -1,
    exactly: Callable[[], float] | None = None,
) -> ClassStatistics:
    """Turn sums over a class into its numbers.

    Args:
        centre, count, variances, distinct: see :class:`ClassStatistics`.
        gram: (n, n) products of the centred rows on the smaller side; overwritten.
        settings: how to measure.
        exactly: computes the scale where the Gram matrix has not enough digits; its eigenvalues serve otherwise.
    """
    variances = np.array(variances)
    if count == 1 or not variances.any():
        none = np.zeros(min(1, settings.spectrum))
        rank, shrunk = (0 if settings.spectrum else -1), (0.0 if settings.shrunk else math.nan)
        return ClassStatistics(count, centre.mean, variances, 0.0, shrunk, none, rank, min(distinct, 1))
    eigenvalues, rank = _spectrum(gram, count, settings.spectrum)
    gram *= settings.scale_factor**2 / count
    bits, holds = bits_of_gram(gram, count, len(variances))
    if not holds and exactly is not None:
        bits = exactly()
    shrunk = bits_of_gram(gram, count, len(variances), "shrunk")[0] if settings.shrunk else math.nan
    return ClassStatistics(count, centre.mean, variances, bits, shrunk, eigenvalues, rank, distinct)


def bits_of_gram(gram: np.ndarray, count: int, dim: int, estimator: str = "plain") -> tuple[float, bool]:
    """Compute 1/2 log2 det(I + G), by the eigenvalues of G where a Cholesky factor has not enough digits.

    Args:
        gram: (n, n) float64.
        count: samples behind it, for the shrinkage.
        dim: d.
        estimator: ``plain``, or ``shrunk`` (OAS).

    Returns:
        Bits, and whether they hold to a relative 1e-6; what is better than eigenvalues needs the rows.
    """
    quick = _bits_of_pivots(gram) if estimator == "plain" else None
    if quick is not None:
        return quick, True
    counts, matrix = torch.tensor([count]), torch.from_numpy(gram)[None]
    bits, exact = bits_of_grams(matrix, counts, dim, estimator)
    if bool(exact):
        return float(bits), True
    values = torch.linalg.eigvalsh(matrix).clamp_min(0.0).sqrt()
    return float(bits_of_singular_values(values, counts, dim, estimator)), False


def centre_of(rows: np.ndarray) -> Centre:
    """Compute the mean of rows (m, d)."""
    if rows.dtype == np.float32:  # float64 holds the sum of its numbers, whatever their offset
        mean = rows.sum(0, dtype=np.float64) / len(rows)
        return Centre(mean, np.zeros_like(mean))
    first = rows[0].astype(np.float64)
    total, bounded = np.zeros_like(first), True
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(rows):
            bounded = bounded and bool(max(block.max(), -block.min()) <= LARGEST)
            total += (block - first).sum(0)
    return Centre(first, total / len(rows), bounded)


def scatter_of(rows: np.ndarray, centre: Centre) -> np.ndarray:
    """Compute the (d, d) sum of the outer products of centred rows (m, d)."""
    # numpy sees a product of a matrix with itself and computes half of it.
    return reduce(iadd, (block.T @ block for block in _blocks(rows, centre)))


def _gram_of_columns(rows: np.ndarray, centre: Centre) -> np.ndarray:
    """Compute the (m, m) products of the centred rows, a block of columns at a time."""
    width = max(1, _BLOCK_ELEMENTS // len(rows))
    parts = [slice(start, start + width) for start in range(0, rows.shape[1], width)]
    blocks = (_centred(rows[:, part], Centre(centre.first[part], centre.delta[part])) for part in parts)
    return reduce(iadd, (block @ block.T for block in blocks))


def _variances_of(rows: np.ndarray, centre: Centre) -> np.ndarray:
    """Compute the variance of each feature of rows (m, d)."""
    return reduce(iadd, (np.square(block).sum(0) for block in _blocks(rows, centre))) / len(rows)


def _blocks(rows: np.ndarray, centre: Centre | None = None) -> Iterator[np.ndarray]:
    """Yield blocks of rows in float64, less their centre."""
    height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), height):
        part = rows[start : start + height]
        yield part.astype(np.float64, copy=False) if centre is None else _centred(part, centre)


def _centred(rows: np.ndarray, centre: Centre) -> np.ndarray:
    block = np.subtract(rows, centre.first, dtype=np.float64)
    if centre.delta.any():
        block -= centre.delta
    return block


def _bits_of_pivots(gram: np.ndarray) -> float | None:
    """Compute 1/2 log2 det(I + G) from the pivots of a Cholesky factor.

    :func:`semscale_pl.geometry.volumes.bits_of_grams` does the same for many matrices, but on torch's own LAPACK.

    Returns:
        Bits; None where the result may be further off than a relative 1e-7, or G is next to nothing.
    """
    trace = float(gram.trace())
    if not math.isfinite(trace) or trace < _SMALL_TRACE:
        return None
    factor = gram.copy()
    factor.flat[:: len(factor) + 1] += 1.0
    # A symmetric matrix is its own transpose, which lies in LAPACK's order and so is factored in place: 1.6 ms for
    # 512 x 512 on one core where numpy and torch, which copy, take 4 ms. Calling LAPACK past scipy's wrapper, so that
    # other threads run meanwhile, gained nothing that could be measured in a whole run.
    factor, failed = lapack.dpotrf(factor.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    pivots = factor.diagonal()
    nats = float(np.log(pivots).sum())
    # An error E of G moves log det by tr((I + G)^-1 E); E is about eps times the trace.
    error = float(np.finfo(np.float64).eps) * (1.0 + trace) * float((pivots**-2.0).sum())
    return nats / math.log(2.0) if error < _TOLERANCE * nats else None


def _spectrum(gram: np.ndarray, count: int, size: int) -> tuple[np.ndarray, int]:
    if size == 0:
        return np.zeros(0), -1
    values = np.linalg.eigvalsh(gram)[::-1].clip(0.0) / count
    return values[:size].copy(), int((values > _RANK_TOLERANCE * values[0]).sum())


def _num_distinct(rows: np.ndarray) -> int:
    """Count different rows by one random projection of each; equal rows have equal projections."""
    direction = np.asarray(np.random.default_rng(0).standard_normal(rows.shape[1]), rows.dtype)
    # A matrix product sums a row in an order that can depend on where it stands; einsum's does not.
    return len(np.unique(np.einsum("ij,j->i", rows, direction)))
