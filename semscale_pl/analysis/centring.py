"""Sums over the rows of a class about their centre, in float64, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from semscale_pl.analysis.workspace import Workspace

# Float64 numbers of a block of centred rows: 4 MiB, which a CPU's cache takes.
_BLOCK_ELEMENTS = 2**19
# Beyond, sums of squares overflow in float64. Single-precision numbers cannot get there.
LARGEST = 1e100


@dataclass(frozen=True)
class Centre:
    """A mean as a row plus the mean difference to it, so that a large common offset costs no digits.

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


def centre_of(rows: np.ndarray, space: Workspace) -> Centre:
    """Compute the mean of rows (m, d)."""
    if rows.dtype == np.float32:  # float64 holds the sum of its numbers, whatever their offset
        mean = rows.sum(0, dtype=np.float64) / len(rows)
        return Centre(mean, np.zeros_like(mean))
    first = rows[0].astype(np.float64)
    total, bounded = np.zeros_like(first), True
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(rows, space):
            bounded = bounded and bool(max(block.max(), -block.min()) <= LARGEST)
            block -= first
            total += block.sum(0)
    return Centre(first, total / len(rows), bounded)


def scatter_of(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the (d, d) sum of the outer products of centred rows (m, d), in that space."""
    shape = (rows.shape[1], rows.shape[1])
    total, product = space.array("scatter", shape), space.array("product", shape)
    for number, block in enumerate(_blocks(rows, space, centre)):
        # numpy sees a product with itself and computes half of it.
        np.matmul(block.T, block, out=product if number else total)
        if number:
            total += product
    return total


def gram_of_columns(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the (m, m) products of the centred rows in that space, a block of columns at a time."""
    width = max(1, _BLOCK_ELEMENTS // len(rows))
    shape = (len(rows), len(rows))
    total, product = space.array("scatter", shape), space.array("product", shape)
    for start in range(0, rows.shape[1], width):
        part = slice(start, start + width)
        (block,) = _blocks(rows[:, part], space, Centre(centre.first[part], centre.delta[part]))
        np.matmul(block, block.T, out=product if start else total)
        if start:
            total += product
    return total


def variances_of(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the variance of each feature of rows (m, d)."""
    total = np.zeros_like(centre.first)
    for block in _blocks(rows, space, centre):
        total += np.square(block, out=block).sum(0)
    return total / len(rows)


def _blocks(rows: np.ndarray, space: Workspace, centre: Centre | None = None) -> Iterator[np.ndarray]:
    """Yield copies of blocks of rows in float64, less their centre, each in the place of the one before."""
    height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), height):
        part = rows[start : start + height]
        block = space.array("block", part.shape)
        if centre is None:
            block[:] = part
        else:
            np.subtract(part, centre.first, out=block)
            if centre.delta.any():
                block -= centre.delta
        yield block
