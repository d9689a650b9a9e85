"""Centred Gram matrices of features, block by block in float64, so that no float64 copy of all features is made."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Float64 numbers held at once: 32 MiB.
BLOCK_ELEMENTS = 2**22


def num_lines(length: int) -> int:
    """Return how many lines of ``length`` numbers make a block; at least one."""
    return max(1, BLOCK_ELEMENTS // max(1, length))


def centred_blocks(features: Tensor, scale: float, center: bool) -> Iterator[Tensor]:
    """Yield ``scale * (features - mean)`` in float64 blocks whose Gram matrices add up to the smaller Gram matrix.

    The mean is taken of the differences to the first sample. So identical samples give exact zeros, and a large common
    offset costs no digits.

    Args:
        features: (m, d).
        scale: factor of every entry.
        center: whether to subtract the mean.

    Yields:
        (k, n) with n = min(m, d): rows of the centred matrix where m >= d, else columns.
    """
    num_rows, dim = features.shape
    if num_rows >= dim:
        yield from _row_blocks(features, scale, center)
        return
    for block in features.split(num_lines(num_rows), dim=1):
        yield centred(block.double(), scale, center).T


def _row_blocks(features: Tensor, scale: float, center: bool) -> Iterator[Tensor]:
    blocks = features.split(num_lines(features.shape[1]))
    if not center:
        yield from (block.double() * scale for block in blocks)
        return
    first = features[0].double()
    total = torch.zeros_like(first)
    for block in blocks:
        total += (block.double() - first).sum(0)
    mean = total / features.shape[0]
    for block in blocks:
        yield (block.double() - first).sub_(mean).mul_(scale)


def centred(features: Tensor, scale: float, center: bool = True) -> Tensor:
    """Return ``scale * (features - mean)`` of a float64 matrix (m, k) at once."""
    if not center:
        return features * scale
    shifted = features - features[0]
    return shifted.sub_(shifted.mean(0)).mul_(scale)


def gram(features: Tensor, scale: float = 1.0, center: bool = True) -> Tensor:
    """Compute the smaller Gram matrix of the scaled, centred features.

    Args:
        features: (m, d).
        scale: factor of every entry.
        center: whether to subtract the mean.

    Returns:
        (n, n) float64 with n = min(m, d).
    """
    size = min(features.shape)
    total = torch.zeros(size, size, dtype=torch.float64, device=features.device)
    for block in centred_blocks(features, scale, center):
        total.addmm_(block.T, block)
    return total


def singular_values(features: Tensor, scale: float = 1.0, center: bool = True) -> Tensor:
    """Compute the singular values of the scaled, centred features by a QR decomposition that takes block after block.

    Slower than :func:`gram`, but a small singular value beside a large one keeps its digits: nothing is squared.

    Args:
        features: (m, d).
        scale: factor of every entry.
        center: whether to subtract the mean.

    Returns:
        (n,) float64 with n = min(m, d), in descending order.
    """
    triangle: Tensor | None = None
    for block in centred_blocks(features, scale, center):
        stacked = block if triangle is None else torch.cat([triangle, block])
        triangle = torch.linalg.qr(stacked, mode="r").R if stacked.shape[0] > stacked.shape[1] else stacked
    if triangle is None:
        raise ValueError("Expected at least one sample and one feature, but got an empty matrix.")
    values = torch.linalg.svdvals(triangle)
    if center and features.shape[0] <= features.shape[1]:
        values[-1] = 0.0  # m centred rows span at most m - 1 dimensions; what is found in the last one is rounding
    return values
