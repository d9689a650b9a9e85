"""Semantic scales of the population: how S' grows with the count of samples is followed to its limit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semscale_pl.measuring.subsamples import bits_of_subsets, coordinates, members_of, random_subsets
from semscale_pl.seeding import derive_seed

# Below it the curve has next to no shape to fit.
FEWEST_SAMPLES = 8
# A limit further away than this, relative to what was measured, rests on the model more than on the data.
LARGEST_GROWTH = 3.0
# Root mean square misfit, relative to the largest point of the curve, above which the model does not describe the data.
LARGEST_MISFIT = 0.1
_STEPS, _STEP, _SMALLEST_SUBSET = 8, math.sqrt(2.0), 3
_MOST_NODES = 128
_HALVINGS = 60
_START_DECAYS = (0.1, 4.0)
_BOUNDS = ((-600.0, -6.0), (600.0, 6.0))


class Spectrum(NamedTuple):
    """Eigenvalues d * lambda_i = e^log_size * e^(-e^log_decay * i/d), i = 0 .. d-1, scaled to the sum e^log_size."""

    log_size: float
    log_decay: float  # from -6 (all alike) to 6 (all but a few are 0)


def eigenvalues(spectrum: Spectrum, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of d * Cov.

    Returns:
        Values and how many eigenvalues each stands for; of very many dimensions, only some are computed.

    Example:
        >>> values, weights = eigenvalues(Spectrum(math.log(6.0), -6.0), 3)
        >>> float(values @ weights), weights.tolist()
        (6.0, [1.0, 1.0, 1.0])
    """
    nodes = min(dim, _MOST_NODES)
    positions = (np.arange(nodes) + 0.5) / nodes
    weights = np.full(nodes, dim / nodes)
    decreasing = np.exp(-math.exp(spectrum.log_decay) * (positions - positions[0]))
    return decreasing * (math.exp(spectrum.log_size) / float(decreasing @ weights)), weights


def expected_bits(spectrum: Spectrum, freedom: np.ndarray, dim: int) -> np.ndarray:
    """Compute the S' to be expected of finitely many samples, to leading order in the dimension.

    With n degrees of freedom, 2 ln(2) S' is close to sum_i log(1 + l_i/(1+e)) + n log(1+e) - n e/(1+e), where l_i are
    the eigenvalues of d * Cov and e solves n e = sum_i l_i (1+e) / (1+e+l_i).

    Args:
        spectrum: of the population.
        freedom: (K,) degrees of freedom n, samples less 1.
        dim: d.

    Returns:
        (K,) bits.

    Reference: Silverstein and Bai (Journal of Multivariate Analysis 1995); Couillet and Debbah, Random Matrix Methods
    for Wireless Communications (2011), chapter 6.
    """
    values, weights = eigenvalues(spectrum, dim)
    low, high = np.zeros_like(freedom), np.full_like(freedom, values @ weights) / freedom
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        too_small = (values / (1.0 + values / (1.0 + middle[:, None]))) @ weights > freedom * middle
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    excess = 0.5 * (low + high)
    logs = np.log1p(values / (1.0 + excess[:, None])) @ weights
    return (logs + freedom * (np.log1p(excess) - excess / (1.0 + excess))) / (2.0 * math.log(2.0))


def limit_bits(spectrum: Spectrum, dim: int) -> float:
    """Return S' at infinitely many samples in bits.

    Example:
        >>> round(limit_bits(Spectrum(math.log(64.0), -6.0), 64), 2)  # d * Cov = I: 1/2 * 64 * log2(2)
        32.0
    """
    values, weights = eigenvalues(spectrum, dim)
    return float(np.log1p(values) @ weights) / (2.0 * math.log(2.0))


def fit_spectrum(freedom: np.ndarray, bits: np.ndarray, dim: int) -> Spectrum:
    """Fit size and decay to measured S' above 0, (K,) bits each, by least squares; the better of two starts."""
    from scipy.optimize import least_squares

    largest = float(bits.max())

    def misfit(parameters: np.ndarray) -> np.ndarray:
        return (expected_bits(Spectrum(*parameters), freedom, dim) - bits) / largest

    starts = [(_log_size(largest, dim), math.log(decay)) for decay in _START_DECAYS]
    fits = [least_squares(misfit, start, bounds=_BOUNDS, xtol=1e-6, ftol=1e-8) for start in starts]
    return Spectrum(*min(fits, key=lambda fit: fit.cost).x.tolist())


def _log_size(bits: float, dim: int) -> float:
    """Return the logarithm of the trace of an isotropic population of this S'."""
    exponent = 2.0 * bits / dim * math.log(2.0)
    low, high = _BOUNDS[0][0] + 1.0, _BOUNDS[1][0] - 1.0
    return min(max(math.log(dim) + exponent + math.log(-math.expm1(-exponent)), low), high)


class Extrapolation(NamedTuple):
    """The limit of S' of one class in bits, or NaN and one clause that says why there is none."""

    bits: float
    reason: str = ""
    sizes: tuple[int, ...] = ()  # of the subsets that were measured, ascending
    means: tuple[float, ...] = ()  # their mean S' in bits
    fitted: tuple[float, ...] = ()  # what the curve says at these sizes, in bits


@torch.no_grad()
def extrapolated_scales(features: Tensor, labels: Tensor, num_classes: int, repeats: int = 10, seed: int = 0) -> Tensor:
    """Estimate each class's semantic scale at infinitely many samples, see :func:`extrapolations`.

    Returns:
        (C,) float64 bits; NaN where there are fewer than 8 samples or the curve gives no limit.

    Example:
        >>> rows = torch.randn(100, 64, generator=torch.Generator().manual_seed(0)) / 8
        >>> labels = torch.zeros(100, dtype=torch.int64)  # the population's S' is 1/2 * 64 * log2(2) = 32 bits
        >>> 30 < float(extrapolated_scales(rows, labels, 1)) < 34
        True
    """
    found = extrapolations(features, labels, num_classes, repeats, seed)
    return torch.tensor([entry.bits for entry in found], dtype=torch.float64)


@torch.no_grad()
def extrapolations(
    features: Tensor, labels: Tensor, num_classes: int, repeats: int = 10, seed: int = 0
) -> tuple[Extrapolation, ...]:
    """Measure each class on subsets of growing size, fit the curve S'(m), and return where it ends.

    The sizes are m, m/sqrt(2), m/2, ... m/16, drawn without replacement. The curve is what random-matrix theory expects
    of m samples from a population whose eigenvalues fall geometrically; its two parameters, size and rate of decay, are
    fitted. An isotropic class and one of low rank are both of this form.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        repeats: random subsets of each size.
        seed: of the draws.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, or a value is out of range.
    """
    if repeats < 1:
        raise ValueError(f"Expected `repeats` to be at least 1, but got {repeats}.")
    members = members_of(features, labels, num_classes)
    return tuple(extrapolation(rows, repeats, derive_seed(seed, label)) for label, rows in enumerate(members))


def curve(rows: Tensor, repeats: int, seed: int) -> tuple[list[int], list[float]]:
    """Return sizes of subsets, ascending to all rows (m, d), and the mean S' at each in bits."""
    points, num_rows = coordinates(rows), len(rows)
    generator = torch.Generator().manual_seed(seed)
    sizes = sorted({max(_SMALLEST_SUBSET, round(num_rows / _STEP**step)) for step in range(_STEPS + 1)})
    means = []
    for size in sizes:
        subsets = random_subsets(num_rows, size, 1 if size == num_rows else repeats, generator)
        means.append(float(bits_of_subsets(points, subsets, rows.shape[1]).mean()))
    return sizes, means


@torch.no_grad()
def extrapolation(rows: Tensor, repeats: int = 10, seed: int = 0) -> Extrapolation:
    """Estimate the semantic scale of one class, rows (m, d), at infinitely many samples, see :func:`extrapolations`."""
    num_rows, dim = rows.shape
    if num_rows < FEWEST_SAMPLES:
        return Extrapolation(math.nan, f"fewer than {FEWEST_SAMPLES} samples")
    sizes, means = curve(rows, repeats, seed)
    if means[-1] == 0.0:
        return Extrapolation(0.0, "", tuple(sizes), tuple(means), (0.0,) * len(sizes))
    freedom = np.array(sizes, dtype=np.float64) - 1.0  # the mean takes one
    fit = fit_spectrum(freedom, np.array(means), dim)
    fitted, limit = expected_bits(fit, freedom, dim), limit_bits(fit, dim)
    misfit = float(np.sqrt(np.mean((fitted - means) ** 2))) / means[-1]
    reason = ""
    if misfit > LARGEST_MISFIT:
        reason = f"the curve misses the measured points by {100 * misfit:.0f} %"
    elif limit > LARGEST_GROWTH * means[-1]:
        reason = f"the limit is more than {LARGEST_GROWTH:g} times the measured value"
    return Extrapolation(math.nan if reason else limit, reason, tuple(sizes), tuple(means), tuple(fitted.tolist()))
