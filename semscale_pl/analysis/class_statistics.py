"""What one class says about itself: count, centre, volume, spectrum and rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from semscale_pl.analysis.class_volume import bits_of_gram, fast_bits
from semscale_pl.volumes import scaled_volume

# Float64 numbers of a block of centred rows: 4 MiB, which a CPU's cache takes.
_BLOCK_ELEMENTS = 2**19
# An eigenvalue below this share of the largest counts as none.
_RANK_TOLERANCE = 1e-10
# Float32 is tried where it saves time, and no longer where it failed for half of so many classes.
_FEWEST_DIMENSIONS, _TRIALS = 64, 8
# Beyond, sums of squares overflow in float64. Single-precision numbers cannot get there.
LARGEST = 1e100


class SinglePrecision:
    """Whether float32 is worth another try: not where it failed for half of the first classes."""

    def __init__(self) -> None:
        self._tried, self._failed = 0, 0

    @property
    def pays(self) -> bool:
        """Whether to try it for the next class."""
        return self._tried < _TRIALS or 2 * self._failed < self._tried

    def tell(self, held: bool) -> None:
        """Count a try."""
        self._tried += 1
        self._failed += not held


@dataclass(frozen=True)
class Ruler:
    """How classes are measured.

    Args:
        root: sqrt(ratio) / unit.
        spectrum: largest eigenvalues of each covariance to keep; 0 computes none.
        shrunk: whether to compute the scale of the OAS-shrunk covariance too.
        single: remembers whether float32 has enough digits for these features.
    """

    root: float
    spectrum: int = 64
    shrunk: bool = False
    single: SinglePrecision = field(default_factory=SinglePrecision)


@dataclass(frozen=True)
class ClassStatistics:
    """The numbers of one class.

    Args:
        count: samples m.
        mean: (d,) centre.
        variances: (d,) of each feature.
        bits: semantic scale S'.
        shrunk_bits: with the OAS-shrunk covariance; NaN where not asked for.
        eigenvalues: (k,) largest of the covariance, descending; empty where not asked for.
        rank: of the covariance; -1 where no eigenvalues were asked for.
        distinct: samples that differ; -1 where they were not compared.
    """

    count: int
    mean: np.ndarray
    variances: np.ndarray
    bits: float
    shrunk_bits: float
    eigenvalues: np.ndarray
    rank: int
    distinct: int


@dataclass(frozen=True)
class Centre:
    """A mean as first row plus mean difference to it, so that a large common offset costs no digits.

    Args:
        first: (d,) float64.
        delta: (d,) float64.
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


def statistics_of_rows(rows: np.ndarray, ruler: Ruler) -> ClassStatistics | None:
    """Compute the numbers of a class that is in memory.

    Args:
        rows: (m, d), m >= 1.
        ruler: how to measure.

    Returns:
        The numbers; None where a feature is not finite.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    count, dim = rows.shape
    centre = centre_of(rows)
    if not centre.is_finite:
        return None
    quick = _in_single_precision(rows, centre, ruler)
    if quick is not None:
        return quick
    if count < dim:
        gram, variances = _gram_of_columns(rows, centre), _variances(rows, centre)
    else:
        gram = scatter_of(rows, centre)
        variances = gram.diagonal() / count

    def exactly() -> float:
        return float(scaled_volume(torch.from_numpy(rows), ruler.root / math.sqrt(count), True, "plain"))

    return assemble(centre, count, gram, variances, ruler, _num_distinct(rows), exactly)


def assemble(
    centre: Centre,
    count: int,
    gram: np.ndarray,
    variances: np.ndarray,
    ruler: Ruler,
    distinct: int = -1,
    exactly: Callable[[], float] | None = None,
) -> ClassStatistics:
    """Turn sums over a class into its numbers.

    Args:
        centre: of the class.
        count: samples m >= 1.
        gram: (n, n) products of the centred rows on the smaller side; overwritten.
        variances: (d,) of each feature.
        ruler: how to measure.
        distinct: see :class:`ClassStatistics`.
        exactly: computes the scale where the Gram matrix has not enough digits; its eigenvalues serve otherwise.
    """
    variances = np.array(variances)
    if count == 1 or not variances.any():
        none = np.zeros(min(1, ruler.spectrum))
        rank, shrunk = (0 if ruler.spectrum else -1), (0.0 if ruler.shrunk else math.nan)
        return ClassStatistics(count, centre.mean, variances, 0.0, shrunk, none, rank, min(distinct, 1))
    eigenvalues, rank = _spectrum(gram, count, ruler.spectrum)
    gram *= ruler.root**2 / count
    bits, holds = bits_of_gram(gram, count, len(variances))
    if not holds and exactly is not None:
        bits = exactly()
    shrunk = bits_of_gram(gram, count, len(variances), "shrunk")[0] if ruler.shrunk else math.nan
    return ClassStatistics(count, centre.mean, variances, bits, shrunk, eigenvalues, rank, distinct)


def centre_of(rows: np.ndarray) -> Centre:
    """Compute the mean of rows (m, d)."""
    first = rows[0].astype(np.float64)
    total, bounded = np.zeros_like(first), True
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(rows):
            if rows.dtype == np.float64:
                bounded = bounded and bool(max(block.max(), -block.min()) <= LARGEST)
            block -= first
            total += block.sum(0)
    return Centre(first, total / len(rows), bounded)


def _in_single_precision(rows: np.ndarray, centre: Centre, ruler: Ruler) -> ClassStatistics | None:
    """Measure features stored in float32 in half the time, where their products keep enough digits in it."""
    count, dim = rows.shape
    wide = rows.dtype == np.float32 and _FEWEST_DIMENSIONS <= dim <= count
    if not wide or ruler.spectrum or ruler.shrunk or not ruler.single.pays:
        return None
    gram = np.zeros((dim, dim))
    for block in _blocks(rows, np.float32):
        # Neighbouring numbers differ by an exact float32; what is left to round is small beside the spread.
        block -= rows[0]
        block -= centre.delta.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            gram += block.T @ block
    variances = gram.diagonal() / count
    gram *= ruler.root**2 / count
    bits = fast_bits(gram, single=True) if np.isfinite(variances).all() else None
    ruler.single.tell(bits is not None)
    if bits is None:
        return None
    return ClassStatistics(count, centre.mean, variances, bits, math.nan, np.zeros(0), -1, _num_distinct(rows))


def scatter_of(rows: np.ndarray, centre: Centre) -> np.ndarray:
    """Compute the (d, d) sum of the outer products of centred rows (m, d)."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for block in _blocks(rows):
        _centre(block, centre)
        total += block.T @ block  # numpy sees a product with itself and computes one half of it
    return total


def _centre(block: np.ndarray, centre: Centre) -> None:
    block -= centre.first
    block -= centre.delta


def _gram_of_columns(rows: np.ndarray, centre: Centre) -> np.ndarray:
    """Return the (m, m) products of the centred rows, a block of columns at a time."""
    width = max(1, _BLOCK_ELEMENTS // len(rows))
    total = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], width):
        part = slice(start, start + width)
        block = rows[:, part].astype(np.float64)
        _centre(block, Centre(centre.first[part], centre.delta[part]))
        total += block @ block.T
    return total


def _variances(rows: np.ndarray, centre: Centre) -> np.ndarray:
    total = np.zeros_like(centre.first)
    for block in _blocks(rows):
        _centre(block, centre)
        total += np.square(block, out=block).sum(0)
    return total / len(rows)


def _spectrum(gram: np.ndarray, count: int, size: int) -> tuple[np.ndarray, int]:
    if size == 0:
        return np.zeros(0), -1
    values = np.linalg.eigvalsh(gram)[::-1].clip(0.0) / count
    return values[:size].copy(), int((values > _RANK_TOLERANCE * values[0]).sum())


def _blocks(rows: np.ndarray, dtype: type = np.float64) -> Iterator[np.ndarray]:
    """Yield copies of blocks of rows."""
    height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), height):
        yield np.array(rows[start : start + height], dtype=dtype)


def _num_distinct(rows: np.ndarray) -> int:
    """Count different rows by one random projection of each; equal rows have equal projections."""
    direction = np.asarray(np.random.default_rng(0).standard_normal(rows.shape[1]), rows.dtype)
    # A matrix product sums a row in an order that can depend on where it stands; einsum's does not.
    return len(np.unique(np.einsum("ij,j->i", rows, direction)))
