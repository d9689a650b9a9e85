"""The k-centre choice: every sample of the class has a chosen one nearby."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.analysis.selection.coverage import around_mean, check_size
from semscale_pl.validation import check_features


@torch.no_grad()
def k_centre(features: Tensor, size: int) -> Tensor:
    """Choose the sample nearest to the mean, then again and again the one farthest from all chosen ones.

    The largest distance of a sample to its nearest chosen one is at most twice the smallest possible.

    Args:
        features: (N, d) of one class.
        size: k, from 1 to N.

    Returns:
        (k,) int64 rows; those of a smaller k are the first of a larger one.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or the size is out of range.

    Example:
        >>> k_centre(torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]]), 3).tolist()
        [2, 4, 0]

    Reference: Gonzalez (1985); Sener and Savarese (ICLR 2018) for its use in choosing training images.
    """
    check_features(features, min_rows=1)
    check_size(size, len(features))
    centred = around_mean(features)
    rows = [int(centred.square().sum(1).argmin())]
    distances = _squared_distances(centred, rows[0])
    while len(rows) < size:
        rows.append(int(distances.argmax()))
        distances = distances.minimum(_squared_distances(centred, rows[-1]))
    return torch.tensor(rows)


def covering_radius(features: Tensor, rows: Tensor) -> Tensor:
    """Return the largest distance of a sample to its nearest chosen one.

    Args:
        features: (N, d).
        rows: (k,) of the chosen ones, k >= 1.

    Returns:
        () float64.
    """
    centred = around_mean(features)
    nearest = torch.stack([_squared_distances(centred, int(row)) for row in rows]).amin(0)
    return nearest.max().clamp_min(0.0).sqrt()


def _squared_distances(centred: Tensor, row: int) -> Tensor:
    """Return squared distances of all samples to one, which itself is put below all: it is taken already."""
    distances = (centred - centred[row]).square().sum(1)
    distances[row] = -1.0
    return distances
