"""Products of the rows of a class in float32, which take half the time, and when that is worth trying."""

from __future__ import annotations

import numpy as np

from semscale_pl.analysis.workspace import Workspace

# Numbers of a block of centred rows: 2 MiB, about what the cache of one core takes.
_BLOCK_ELEMENTS = 2**19
# Fewer features gain nothing by it; and it is given up where it failed for half of so many classes.
_FEWEST_DIMENSIONS, _TRIALS = 64, 8


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

    def suits(self, rows: np.ndarray) -> bool:
        """Whether to try it for rows (m, d)."""
        count, dim = rows.shape
        return rows.dtype == np.float32 and _FEWEST_DIMENSIONS <= dim <= count and self.pays


def single_precision_scatter(rows: np.ndarray, space: Workspace) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean, and the sum of the outer products of the rows about it.

    The mean is subtracted as a sum of two float32: what the first one leaves is small, so that its errors and those of
    the products are of the spread of the rows and not of their offset.

    Args:
        rows: (m, d) float32.
        space: to compute in.

    Returns:
        (d,) mean in float64, and (d, d) float64 in that space, not finite where a row is not, or where squares overflow
        float32.
    """
    count, dim = rows.shape
    height = max(1, _BLOCK_ELEMENTS // dim)
    scatter, product = space.array("scatter", (dim, dim)), space.array("product", (dim, dim), np.float32)
    block = space.array("block", (min(height, count), dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.sum(0, dtype=np.float64) / count
        centre = mean.astype(np.float32)
        rest = (mean - centre).astype(np.float32)
        for start in range(0, count, height):
            part = rows[start : start + height]
            centred = np.subtract(part, centre, out=block[: len(part)])
            centred -= rest
            np.matmul(centred.T, centred, out=product)  # numpy sees a product with itself and computes one half of it
            np.add(scatter if start else 0.0, product, out=scatter)
    return mean, scatter
