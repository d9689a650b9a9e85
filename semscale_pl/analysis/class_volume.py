"""The volume of one class from its Gram matrix: one Cholesky factor, in place, and a test whether it can be trusted."""

from __future__ import annotations

import math

import numpy as np
import torch

from semscale_pl.analysis.cholesky import cholesky_pivots, cholesky_solve
from semscale_pl.analysis.workspace import Workspace
from semscale_pl.logdet import bits_of_grams, bits_of_singular_values

# Relative error above which a fast result is not taken; results are promised to 1e-6.
_TOLERANCE = 1e-7
# Of 20,000 matrices, nearly singular, sparse and coarsely rounded ones among them, none was further off than 8.3 times
# the error that is estimated with such a multiple of the norm.
_SINGLE_TOLERANCE, _INDEPENDENT = 1e-7, 8.0
# Beyond, what was factored is rounding more than data.
_FIRST_ORDER = 5e-3
_PROBES = 8
_SMALL_TRACE = 1e-4


def fast_bits(gram: np.ndarray, space: Workspace) -> float | None:
    """Compute 1/2 log2 det(I + G) where rounding allows it.

    Args:
        gram: (n, n) float64.
        space: to compute in.

    Returns:
        Bits; None where the result may be further off than a relative 1e-6, or G is next to nothing.
    """
    factor = space.array("factor", gram.shape)
    factor[:] = gram
    found = _pivots_with_identity(factor)
    if found is None:
        return None
    nats, trace, inverse = found[0], found[1].sum(), found[2]
    # An error E of G moves log det by tr((I + G)^-1 E); E is about eps times the trace.
    error = float(np.finfo(np.float64).eps) * float((1.0 + trace) * inverse.sum())
    return nats / math.log(2.0) if error < _TOLERANCE * nats else None


def single_precision_bits(scatter: np.ndarray, factor: float, space: Workspace) -> float | None:
    """Compute 1/2 log2 det(I + f Z) of a matrix Z that was added up in float32, where rounding allows it.

    Args:
        scatter: (n, n) float64, Z.
        factor: f.
        space: to compute in.

    Returns:
        Bits; None where the result may be further off than a relative 1e-6, or f Z is next to nothing.
    """
    single = space.array("product", scatter.shape, np.float32)
    with np.errstate(over="ignore"):  # where squares overflow float32, the trace tells
        np.multiply(scatter, factor, out=single, casting="same_kind")
    found = _pivots_with_identity(single)
    if found is None:
        return None
    nats, diagonal, inverse = found
    trace, norm = _scaled_inverse(single, np.sqrt(1.0 + diagonal))
    # What the pivots alone tell is a lower bound of both.
    known = (1.0 + diagonal) * inverse
    trace, norm = max(trace, float(known.sum())), max(norm, float(known.max()))
    eps = float(np.finfo(np.float32).eps)
    if not eps * norm < _FIRST_ORDER:
        return None
    # An error E moves the result by tr((I + G)^-1 E) / 2, and E_ij is about eps sqrt((1 + G_ii) (1 + G_jj)): if all of
    # them are independent, this is about eps times the norm, and if they share a sign, it is up to the trace.
    error = 0.5 * eps * (_INDEPENDENT * norm + trace)
    return nats / math.log(2.0) if error < _SINGLE_TOLERANCE * nats else None


def bits_of_gram(
    gram: np.ndarray, count: int, dim: int, space: Workspace, estimator: str = "plain"
) -> tuple[float, bool]:
    """Compute 1/2 log2 det(I + G), by the eigenvalues of G where a Cholesky factor has not enough digits.

    Args:
        gram: (n, n) float64.
        count: samples behind it, for the shrinkage.
        dim: d.
        space: to compute in.
        estimator: ``plain``, or ``shrunk`` (OAS).

    Returns:
        Bits, and whether they hold to a relative 1e-6; what is better than eigenvalues needs the rows.
    """
    quick = fast_bits(gram, space) if estimator == "plain" else None
    if quick is not None:
        return quick, True
    counts, matrix = torch.tensor([count]), torch.from_numpy(gram)[None]
    bits, exact = bits_of_grams(matrix, counts, dim, estimator)
    if bool(exact):
        return float(bits), True
    values = torch.linalg.eigvalsh(matrix).clamp_min(0.0).sqrt()
    return float(bits_of_singular_values(values, counts, dim, estimator)), False


def _pivots_with_identity(matrix: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Factor I + G in the place of G; return half its log-determinant, the diagonal of G and the pivots' ^-2."""
    diagonal = matrix.diagonal().astype(np.float64)
    trace = float(diagonal.sum())
    if not math.isfinite(trace) or trace < _SMALL_TRACE:
        return None
    matrix.flat[:: len(matrix) + 1] += 1.0
    pivots = cholesky_pivots(matrix)
    if pivots is None:
        return None
    wide = pivots.astype(np.float64)
    return float(np.log(wide).sum()), diagonal, wide**-2.0


def _scaled_inverse(factor: np.ndarray, scale: np.ndarray) -> tuple[float, float]:
    """Estimate trace and Frobenius norm of D A^-1 D by a few random vectors (Hutchinson's estimator)."""
    # Normal numbers: of two equal features, random signs see nothing wherever they are the same for both.
    probes = np.random.default_rng(0).standard_normal((_PROBES, len(factor))).astype(factor.dtype)
    solved = probes * scale.astype(factor.dtype)
    cholesky_solve(factor, solved)
    solved *= scale.astype(factor.dtype)
    return float((probes * solved).sum()) / _PROBES, math.sqrt(float(np.square(solved).sum()) / _PROBES)
