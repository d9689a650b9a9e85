"""Correlation of two quantities at equal values of a third."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from semscale_pl.statistics import pearson, spearman

# A quantity that follows the third this closely has nothing left to correlate.
_DETERMINED = 1.0 - 1e-6


def partial_pearson(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float | None:
    """Return Pearson's correlation of what a linear function of ``given`` leaves of x and of y.

    Args:
        x: (n,) numbers; triples with NaN or infinity are dropped.
        y: (n,) numbers.
        given: (n,) numbers.

    Returns:
        A coefficient in [-1, 1]; None where it is undefined: fewer than 4 triples, a constant, or an x or y that is a
        linear function of ``given``.

    Raises:
        ValueError: different lengths.

    Example:
        >>> round(partial_pearson([1, 2, 4, 3], [3, 1, 2, 4], [1, 2, 3, 4]), 2)
        -0.58
    """
    return _partial(*_finite(x, y, given), of_ranks=False)


def partial_spearman(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float | None:
    """Return the partial correlation of the ranks, see :func:`partial_pearson`.

    Args:
        x: (n,) numbers; triples with NaN or infinity are dropped.
        y: (n,) numbers.
        given: (n,) numbers; any increasing function of them gives the same.

    Example:
        >>> partial_spearman([1, 2, 3, 4], [3, 1, 2, 4], [1, 4, 9, 16]) is None  # x is a function of what is given
        True
    """
    return _partial(*_finite(x, y, given), of_ranks=True)


def _partial(x: list[float], y: list[float], given: list[float], of_ranks: bool) -> float | None:
    correlate = spearman if of_ranks else pearson
    if len(x) < 4:
        return None
    direct, first, second = (correlate(*pair).value for pair in ((x, y), (x, given), (y, given)))
    if direct is None or first is None or second is None or max(abs(first), abs(second)) > _DETERMINED:
        return None
    value = (direct - first * second) / math.sqrt((1.0 - first**2) * (1.0 - second**2))
    return min(1.0, max(-1.0, value))


def _finite(*columns: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"Expected `x`, `y` and `given` of one length, but got {[len(part) for part in columns]}.")
    table = np.array([[math.nan if value is None else value for value in column] for column in columns], dtype=float)
    x, y, given = table[:, np.isfinite(table).all(axis=0)].tolist()
    return x, y, given
