"""The volume of one class from its Gram matrix: one Cholesky factor, in place, and a test whether it can be trusted."""

from __future__ import annotations

import math

import numpy as np
import torch

from semscale_pl.logdet import bits_of_grams, bits_of_singular_values

# Relative error above which a fast result is not taken; results are promised to 1e-6.
_TOLERANCE = 1e-7
_SINGLE_TOLERANCE = 2.5e-7
# The products of a long column are added up one after the other, which costs a few more digits than one rounding.
_GROWTH = 4.0
_SMALL_TRACE = 1e-4


def fast_bits(gram: np.ndarray, single: bool = False) -> float | None:
    """Compute 1/2 log2 det(I + G) where rounding allows it.

    Args:
        gram: (n, n) float64.
        single: whether G was added up in float32.

    Returns:
        Bits; None where the result may be further off than a relative 1e-6, or G is next to nothing.
    """
    from scipy.linalg import lapack

    diagonal = gram.diagonal().copy()
    trace = float(diagonal.sum())
    inner = gram.copy()
    inner.flat[:: len(gram) + 1] += 1.0
    # A symmetric matrix is its own transpose, and the transpose of rows is the layout that LAPACK works in.
    factor, failed = lapack.dpotrf(inner.T, lower=1, clean=0, overwrite_a=1)
    if failed or not math.isfinite(trace) or trace < _SMALL_TRACE:
        return None
    pivots = factor.diagonal()
    nats = float(np.log(pivots).sum())
    # An error E of G moves log det by tr((I + G)^-1 E); E is about eps times the trace, or eps sqrt(G_ii G_jj).
    inverse = pivots**-2.0
    if single:
        error = 0.5 * _GROWTH * float(np.finfo(np.float32).eps) * float(diagonal @ inverse)
        return nats / math.log(2.0) if error < _SINGLE_TOLERANCE * nats else None
    error = float(np.finfo(np.float64).eps) * (1.0 + trace) * float(inverse.sum())
    return nats / math.log(2.0) if error < _TOLERANCE * nats else None


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
    quick = fast_bits(gram) if estimator == "plain" else None
    if quick is not None:
        return quick, True
    counts, matrix = torch.tensor([count]), torch.from_numpy(gram)[None]
    bits, exact = bits_of_grams(matrix, counts, dim, estimator)
    if bool(exact):
        return float(bits), True
    values = torch.linalg.eigvalsh(matrix).clamp_min(0.0).sqrt()
    return float(bits_of_singular_values(values, counts, dim, estimator)), False
