"""Log-determinants of I + G in bits, from batches of Gram matrices or of singular values, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ESTIMATORS = ("plain", "shrunk")

# Below this trace, log det(I + G) is its series to second order (relative error below 1e-8); a Cholesky factor of I + G
# would have rounded G away.
_SMALL_TRACE = 1e-4
# Relative error above which a Gram matrix is not trusted.
_TOLERANCE = 1e-7


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
    inner, lifts = grams.clone(), torch.zeros_like(traces)
    if estimator == "shrunk":
        lifts, shares = _shrinkage(traces, squares / traces / traces, counts, dim)
        inner *= shares[:, None, None]
        traces, squares = traces * shares, squares * shares.square()
    inner.diagonal(dim1=1, dim2=2).add_(1.0)
    factors, failed = torch.linalg.cholesky_ex(inner)
    pivots = factors.diagonal(dim1=1, dim2=2)
    is_small = traces < _SMALL_TRACE
    halves = torch.where(is_small, 0.5 * (traces - 0.5 * squares), pivots.log().sum(1))
    nats = 0.5 * dim * lifts.log1p() + halves
    # An error E of I + G moves log det by tr((I + G)^-1 E), and rounding makes E about eps times the trace.
    error = torch.finfo(torch.float64).eps * (1.0 + traces) * pivots.pow(-2).sum(1)
    return nats / math.log(2.0), is_small | ((failed == 0) & (error < _TOLERANCE * nats))


def bits_of_singular_values(values: Tensor, counts: Tensor, dim: int, estimator: str = "plain") -> Tensor:
    """Compute 1/2 log2 det(I + G) from the square roots of the eigenvalues of G.

    Args:
        values: (K, n) float64, at least 0.
        counts: (K,) samples behind each, for the shrinkage.
        dim: d, the dimension of the features.
        estimator: ``plain``, or ``shrunk`` (OAS).

    Returns:
        (K,) bits.
    """
    lifts = torch.zeros_like(values[:, 0])
    if estimator == "shrunk":
        relative = values / values.amax(1, keepdim=True)
        spread = relative.pow(4).sum(1) / relative.square().sum(1).square()
        lifts, shares = _shrinkage(values.square().sum(1), spread, counts, dim)
        values = values * shares.sqrt()[:, None]
    # hypot does not overflow where a square would; log1p keeps the digits where the square is small.
    logs = torch.where(values < 1.0, 0.5 * values.square().log1p(), torch.hypot(values, torch.ones_like(values)).log())
    return (0.5 * dim * lifts.log1p() + logs.sum(1)) / math.log(2.0)


def _shrinkage(traces: Tensor, spread: Tensor, counts: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Write I + (1 - rho) G + rho tr(G)/d I as (1 + lift)(I + share G), which serves both sides of the Gram matrix.

    The spread is tr(G^2) / tr(G)^2: 1/d for a sphere, 1 for a line; undefined for G = 0.
    """
    spread = torch.where(spread.isnan(), 1.0, spread)
    slack = ((counts + 1.0) * (spread - 1.0 / dim)).clamp_min(torch.finfo(torch.float64).tiny)
    rho = ((spread + 1.0) / slack).clamp(max=1.0)
    lifts = rho * traces / dim
    return lifts, (1.0 - rho) / (1.0 + lifts)
