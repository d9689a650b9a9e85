"""Which classes lie closest to which: the nearest class centres and how far they are."""

from __future__ import annotations

import math

import numpy as np
import torch

from semscale_pl.gram import num_lines

NEIGHBOURS = 5
# Candidates more than asked for, of which the nearest are chosen by their exact distances.
_SPARE = 8


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
    candidates = min(found + _SPARE, len(known) - 1)
    size = num_lines(max(len(known), candidates * known.shape[1]))
    shifted = known - known.mean(0)
    squares = shifted.square().sum(1)
    for start in range(0, len(known), size):
        block = slice(start, start + size)
        # This expansion is fast, but of two nearly equal centres it leaves no digits: it only picks the candidates.
        rough = squares - 2.0 * shifted[block] @ shifted.T
        rows = torch.arange(len(rough))
        rough[rows, rows + start] = math.inf
        near = rough.topk(candidates, largest=False).indices.sort(dim=1).values
        lengths = (known[near] - known[block, None]).norm(dim=2)
        smallest = lengths.sort(dim=1, stable=True)
        places = present[block]
        numbers[places, :found] = present[near.gather(1, smallest.indices[:, :found]).numpy()]
        distances[places, :found] = smallest.values[:, :found].numpy()
    return numbers, distances
