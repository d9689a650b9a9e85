"""What one class says about itself: count, centre, volume, spectrum and rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from semscale_pl.analysis.centring import Centre, centre_of, gram_of_columns, scatter_of, variances_of
from semscale_pl.analysis.class_volume import bits_of_gram, single_precision_bits
from semscale_pl.analysis.single_precision import SinglePrecision, single_precision_scatter
from semscale_pl.analysis.workspace import Workspace
from semscale_pl.volumes import scaled_volume

# An eigenvalue below this share of the largest counts as none.
_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Ruler:
    """How classes are measured.

    Args:
        root: sqrt(ratio) / unit.
        spectrum: largest eigenvalues of each covariance to keep; 0 computes none.
        shrunk: whether to compute the scale of the OAS-shrunk covariance too.
        single: remembers whether float32 has enough digits for these features.
        space: to compute in.
    """

    root: float
    spectrum: int = 64
    shrunk: bool = False
    single: SinglePrecision = field(default_factory=SinglePrecision)
    space: Workspace = field(default_factory=Workspace)


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


def statistics_of_rows(rows: np.ndarray, ruler: Ruler) -> ClassStatistics | None:
    """Compute the numbers of a class that is in memory.

    Args:
        rows: (m, d), m >= 1.
        ruler: how to measure.

    Returns:
        The numbers; None where a feature is not finite.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    if not (ruler.spectrum or ruler.shrunk) and ruler.single.suits(rows):
        quick = _in_single_precision(rows, ruler)
        ruler.single.tell(quick is not None)
        if quick is not None:
            return quick
    count, dim = rows.shape
    centre = centre_of(rows, ruler.space)
    if not centre.is_finite:
        return None
    if count < dim:
        gram, variances = gram_of_columns(rows, centre, ruler.space), variances_of(rows, centre, ruler.space)
    else:
        gram = scatter_of(rows, centre, ruler.space)
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
    bits, holds = bits_of_gram(gram, count, len(variances), ruler.space)
    if not holds and exactly is not None:
        bits = exactly()
    shrunk = bits_of_gram(gram, count, len(variances), ruler.space, "shrunk")[0] if ruler.shrunk else math.nan
    return ClassStatistics(count, centre.mean, variances, bits, shrunk, eigenvalues, rank, distinct)


def _in_single_precision(rows: np.ndarray, ruler: Ruler) -> ClassStatistics | None:
    """Measure a class in half the time; None where its numbers are not finite or have too few digits."""
    count = len(rows)
    mean, scatter = single_precision_scatter(rows, ruler.space)
    variances = scatter.diagonal() / count
    if not np.isfinite(variances).all():
        return None
    bits = single_precision_bits(scatter, ruler.root**2 / count, ruler.space)
    if bits is None:
        return None
    return ClassStatistics(count, mean, variances, bits, math.nan, np.zeros(0), -1, _num_distinct(rows))


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
