"""Which classes lie closest to which: the nearest class centres and how far they are."""

from __future__ import annotations

import math

import numpy as np
import torch

from semscale_pl.gram import num_lines

NEIGHBOURS = 5


def nearest_centres(centres: np.ndarray, size: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centres of every class.

    Args:
        centres: (C, d), NaN rows for absent classes.
        size: most neighbours of a class.

    Returns:
        (C, j) int64 class numbers, nearest first, -1 beyond the last; and (C, j) distances, NaN there. j is ``size``,
        or less where there are fewer classes.

    Example:
        >>> nearest_centres(np.array([[0.0], [1.0], [4.0]]))[0]
        array([[1, 2],
               [0, 2],
               [1, 0]])
    """
    width = min(size, max(0, len(centres) - 1))
    numbers = np.full((len(centres), width), -1)
    distances = np.full((len(centres), width), math.nan)
    present = np.flatnonzero(~np.isnan(centres).any(1))
    found = min(width, len(present) - 1)
    if found < 1:
        return numbers, distances
    known = torch.from_numpy(centres[present])
    for start in range(0, len(known), num_lines(len(known))):
        block = known[start : start + num_lines(len(known))]
        lengths = torch.cdist(block, known, compute_mode="donot_use_mm_for_euclid_dist")
        rows = torch.arange(len(block))
        lengths[rows, rows + start] = math.inf
        smallest = lengths.topk(found, largest=False, sorted=True)
        places = present[start : start + len(block)]
        numbers[places, :found] = present[smallest.indices.numpy()]
        distances[places, :found] = smallest.values.numpy()
    return numbers, distances
