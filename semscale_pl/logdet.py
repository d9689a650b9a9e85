"""Log-determinants of identity plus a scaled Gram matrix, in bits, batched and in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Beyond this trace the 1 of the identity drowns in the rounding of the Gram matrix: singular values are used instead.
_LARGEST_TRACE = 1e8
_CHUNK_ELEMENTS = 1 << 24


def half_logdet_bits(psd: Tensor) -> Tensor:
    """Return 1/2 log2 det(I + P).

    Args:
        psd: (..., k, k) positive semi-definite matrices P, float64.

    Returns:
        (...) bits.
    """
    shifted = psd.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(1.0)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    bits = factor.diagonal(dim1=-2, dim2=-1).log2().sum(dim=-1)
    if bool(failed.any()):
        # Only rounding can make I + PSD indefinite; the eigenvalues below 0 are that rounding.
        eigenvalues = torch.linalg.eigvalsh(psd[failed > 0]).clamp_min(0.0)
        bits[failed > 0] = 0.5 * torch.log1p(eigenvalues).sum(dim=-1) / math.log(2.0)
    return bits


def rows_half_logdet_bits(rows: Tensor, mean: Tensor, factor: float) -> Tensor:
    """Return 1/2 log2 det(I + factor * Z^T Z) of rows Z about a mean.

    Args:
        rows: (m, d), any floating dtype.
        mean: (d,) float64, subtracted from every row.
        factor: of the Gram matrix.

    Returns:
        () bits.
    """
    num_rows, dim = rows.shape
    if num_rows < dim:
        centred = rows.double() - mean
        gram = centred @ centred.T
    else:
        gram = _tall_gram(rows, mean)
    gram = gram * factor
    if float(gram.diagonal().sum()) <= _LARGEST_TRACE:
        return half_logdet_bits(gram)
    return _from_singular_values(rows, mean, factor)


def _tall_gram(rows: Tensor, mean: Tensor) -> Tensor:
    """Sum the outer products in chunks: no float64 copy of all rows."""
    gram = rows.new_zeros((rows.shape[1], rows.shape[1]), dtype=torch.float64)
    for part in rows.split(max(1, _CHUNK_ELEMENTS // rows.shape[1])):
        centred = part.double() - mean
        gram.addmm_(centred.T, centred)
    return gram


def _from_singular_values(rows: Tensor, mean: Tensor, factor: float) -> Tensor:
    dim = rows.shape[1]
    triangle = rows.new_zeros((0, dim), dtype=torch.float64)
    for part in rows.split(max(dim, _CHUNK_ELEMENTS // dim)):
        stacked = torch.cat([triangle, part.double() - mean])
        # The triangular factor has the singular values of all rows so far, in at most d rows.
        triangle = torch.linalg.qr(stacked, mode="r").R if stacked.shape[0] > dim else stacked
    values = torch.linalg.svdvals(triangle) * math.sqrt(factor)
    # log(1 + s^2) without squaring a large s
    return torch.where(values > 1e7, 2.0 * values.clamp_min(1.0).log(), torch.log1p(values.square())).sum() / math.log(4.0)
