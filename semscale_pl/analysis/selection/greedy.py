"""Greedy choice of the samples that span the largest volume, at least 1 - 1/e of the best possible."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.analysis.selection.coverage import around_mean, check_size
from semscale_pl.validation import check_features


class Greedy(NamedTuple):
    """Samples in the order of their choice.

    Args:
        rows: (k,) int64.
        bits: (k,) float64; entry t is the coverage of the first t + 1 rows, with d divided by k.
    """

    rows: Tensor
    bits: Tensor


@torch.no_grad()
def greedy(features: Tensor, size: int) -> Greedy:
    """Choose k samples one by one, always the one that adds most to log det(I + d/k Z_A Z_A^T).

    Z is centred at the mean of the whole class, which makes the objective monotone and submodular: the choice reaches
    at least 1 - 1/e of the optimum (Nemhauser et al., 1978), and finding more is NP-hard in general. With
    P = (I + d/k Z_A^T Z_A)^-1, sample z adds log(1 + d/k z^T P z), and choosing it takes a rank-one term off P. So one
    step costs a product of all features with one vector, and everything O(N d k).

    Args:
        features: (N, d) of one class.
        size: k, from 1 to N.

    Returns:
        The rows and the bits they reach; of equal gains the first row is taken.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or the size is out of range.

    Example:
        >>> greedy(torch.tensor([[9.0, 0.0], [8.0, 0.0], [-17.0, 0.0], [0.0, 5.0], [0.0, -5.0]]), 2).rows.tolist()
        [2, 3]

    Reference: Ma et al. (ICLR 2023), appendix I1, for the aim; the algorithm is not the paper's.
    """
    check_features(features, min_rows=1)
    num_rows, dim = features.shape
    check_size(size, num_rows)
    scaled = around_mean(features).mul_(math.sqrt(dim / size))
    gains = scaled.square().sum(1)  # z^T P z, at first with P = I
    directions = scaled.new_zeros(size, dim)  # P = I - directions^T directions
    rows, nats = [], []
    for step in range(size):
        row = int(gains.argmax())
        gain = gains[row].clamp_min(0.0)
        rows.append(row)
        nats.append(gain.log1p())
        used, sample = directions[:step], scaled[row]
        directions[step] = (sample - used.T @ (used @ sample)) / (1.0 + gain).sqrt()
        gains -= (scaled @ directions[step]).square_()
        gains[row] = -math.inf  # chosen once
    bits = torch.stack(nats).cumsum(0) / (2.0 * math.log(2.0))
    return Greedy(torch.tensor(rows), bits)
