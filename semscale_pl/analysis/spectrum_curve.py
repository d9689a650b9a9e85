"""The S' to be expected of m samples from a population of known eigenvalues, and the eigenvalues that fit given S'."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MOST_NODES = 128
_HALVINGS = 60
_START_DECAYS = (0.1, 4.0)
_BOUNDS = ((-600.0, -6.0), (600.0, 6.0))


class Spectrum(NamedTuple):
    """Eigenvalues d * lambda_i = e^log_size * e^(-e^log_decay * i/d), i = 0 .. d-1, scaled to the sum e^log_size.

    Args:
        log_size: logarithm of their sum.
        log_decay: logarithm of the rate at which they fall; from -6 (all alike) to 6 (all but a few are 0).
    """

    log_size: float
    log_decay: float


def eigenvalues(spectrum: Spectrum, dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of d * Cov.

    Args:
        spectrum: size and decay.
        dim: d.

    Returns:
        Values and how many eigenvalues each stands for; of very many dimensions, only some are computed.

    Example:
        >>> values, weights = eigenvalues(Spectrum(math.log(6.0), -6.0), 3)
        >>> float(values @ weights), weights.tolist()
        (6.0, [1.0, 1.0, 1.0])
    """
    nodes = min(dim, _MOST_NODES)
    places = (np.arange(nodes) + 0.5) / nodes
    weights = np.full(nodes, dim / nodes)
    falling = np.exp(-math.exp(spectrum.log_decay) * (places - places[0]))
    return falling * (math.exp(spectrum.log_size) / float(falling @ weights)), weights


def expected_bits(spectrum: Spectrum, freedom: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
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


def fit_spectrum(freedom: NDArray[np.float64], bits: NDArray[np.float64], dim: int) -> Spectrum:
    """Fit size and decay to measured points by least squares, from two starting points.

    Args:
        freedom: (K,) degrees of freedom, ascending.
        bits: (K,) measured S' above 0.
        dim: d.

    Returns:
        The better fit.
    """
    from scipy.optimize import least_squares

    largest = float(bits.max())

    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        return (expected_bits(Spectrum(*parameters), freedom, dim) - bits) / largest

    starts = [(_log_size(largest, dim), math.log(decay)) for decay in _START_DECAYS]
    fits = [least_squares(misfit, start, bounds=_BOUNDS, xtol=1e-6, ftol=1e-8) for start in starts]
    return Spectrum(*(float(value) for value in min(fits, key=lambda fit: fit.cost).x))


def _log_size(bits: float, dim: int) -> float:
    """Return the logarithm of the trace of an isotropic population of this S'."""
    exponent = 2.0 * bits / dim * math.log(2.0)
    low, high = _BOUNDS[0][0] + 1.0, _BOUNDS[1][0] - 1.0
    return min(max(math.log(dim) + exponent + math.log(-math.expm1(-exponent)), low), high)
