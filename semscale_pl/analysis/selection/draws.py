"""Random choice, and the best of many random choices."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.analysis.selection.coverage import check_size
from semscale_pl.scales import semantic_scales
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_features


def random_rows(num_rows: int, size: int, seed: int = 0) -> Tensor:
    """Draw k of N samples without replacement.

    Args:
        num_rows: N.
        size: k, from 1 to N.
        seed: of the draw.

    Returns:
        (k,) int64 rows in random order; those of a smaller k are the first of a larger one.

    Raises:
        ValueError: the size is out of range.
    """
    check_size(size, num_rows)
    generator = torch.Generator().manual_seed(derive_seed(seed))
    return torch.randperm(num_rows, generator=generator)[:size]


@torch.no_grad()
def best_of_draws(features: Tensor, size: int, draws: int = 100, seed: int = 0) -> Tensor:
    """Draw k samples many times and keep the draw with the largest semantic scale S'.

    Args:
        features: (N, d) of one class.
        size: k, from 1 to N.
        draws: number of draws, at least 1.
        seed: of the draws; the first is that of :func:`random_rows` with ``derive_seed(seed, 0)``.

    Returns:
        (k,) int64 rows; of equal draws the first.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite matrix, or a number is out of range.

    Reference: Ma et al. (ICLR 2023), appendix I1.
    """
    check_features(features, min_rows=1)
    if draws < 1:
        raise ValueError(f"Expected `draws` to be at least 1, but got {draws}.")
    candidates = torch.stack([random_rows(len(features), size, derive_seed(seed, draw)) for draw in range(draws)])
    scales = torch.cat([scales_of_draws(features, part) for part in candidates.split(16)])
    return candidates[int(scales.argmax())]


def scales_of_draws(features: Tensor, candidates: Tensor) -> Tensor:
    """Compute S' of several subsets of one size.

    Args:
        features: (N, d).
        candidates: (D, k) rows.

    Returns:
        (D,) bits.
    """
    num_draws, size = candidates.shape
    labels = torch.arange(num_draws).repeat_interleave(size)
    return semantic_scales(features[candidates.flatten()], labels, num_draws)
