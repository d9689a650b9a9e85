"""Herding: samples whose running mean follows the mean of their class."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.analysis.selection.coverage import around_mean, check_size
from semscale_pl.validation import check_features


@torch.no_grad()
def herding(features: Tensor, size: int) -> Tensor:
    """Choose samples one by one so that the mean of the chosen ones stays closest to the mean of all.

    Args:
        features: (N, d) of one class.
        size: k, from 1 to N.

    Returns:
        (k,) int64 rows, each chosen once; those of a smaller k are the first of a larger one.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or the size is out of range.

    Example:
        >>> herding(torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]]), 2).tolist()
        [2, 3]

    Reference: Welling (ICML 2009); the form without repeats of Rebuffi et al. (iCaRL, CVPR 2017), Algorithm 4.
    """
    check_features(features, min_rows=1)
    check_size(size, len(features))
    centred = around_mean(features)
    squares = centred.square().sum(1)
    total = torch.zeros_like(centred[0])
    taken = torch.zeros_like(squares)
    rows = []
    for _ in range(size):
        # |total + z|^2 less |total|^2, which is the same for all; the divisor (t + 1)^2 is, too.
        row = int((squares + 2.0 * (centred @ total) + taken).argmin())
        rows.append(row)
        total += centred[row]
        taken[row] = torch.inf
    return torch.tensor(rows)
