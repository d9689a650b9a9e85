"""Semantic scales at equal counts: every class is measured on subsets of one size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.analysis.subsamples import bits_of_subsets, coordinates, members_of, random_subsets
from semscale_pl.seeding import derive_seed

SMALLEST_SIZE = 2


@torch.no_grad()
def matched_scales(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    size: int | None = None,
    repeats: int = 20,
    seed: int = 0,
) -> Tensor:
    """Compute each class's mean semantic scale over random subsets of one size, drawn without replacement.

    S' grows with the number of samples even where the distribution stays the same; at one size, what is left to differ
    between two classes is their diversity. The level is that of ``size`` samples, not that of the population.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        size: samples of a subset, at least 2; None for the count of the smallest class of at least 2.
        repeats: subsets of a class; a class of exactly ``size`` samples has only one.
        seed: of the draws. Those of a class depend on nothing but the seed, its number and its count.

    Returns:
        (C,) float64 bits; NaN for a class of fewer than ``size`` samples.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, a value is out of range, or no class has 2 samples.

    Example:
        >>> rows = torch.tensor([[0.0], [2.0], [0.0], [2.0], [2.0], [0.0], [9.0]])
        >>> matched_scales(rows, torch.tensor([0, 0, 1, 1, 1, 1, 2]), 3, size=2)[[0, 2]]
        tensor([0.5000,    nan], dtype=torch.float64)
    """
    if repeats < 1:
        raise ValueError(f"Expected `repeats` to be at least 1, but got {repeats}.")
    members = list(members_of(features, labels, num_classes))
    size = matched_size([len(rows) for rows in members]) if size is None else size
    if size < SMALLEST_SIZE:
        raise ValueError(f"Expected `size` to be at least {SMALLEST_SIZE}, but got {size}.")
    scales = [matched_scale(rows, size, repeats, derive_seed(seed, label)) for label, rows in enumerate(members)]
    return torch.tensor(scales, dtype=torch.float64)


def matched_size(counts: list[int]) -> int:
    """Return the largest size that every class of at least 2 samples allows.

    Args:
        counts: (C,) samples of the classes.

    Raises:
        ValueError: no class has 2 samples.

    Example:
        >>> matched_size([500, 0, 1, 7])
        7
    """
    enough = [count for count in counts if count >= SMALLEST_SIZE]
    if not enough:
        raise ValueError(
            f"Expected a class of at least {SMALLEST_SIZE} samples, but the largest has {max(counts, default=0)}."
        )
    return min(enough)


@torch.no_grad()
def matched_scale(rows: Tensor, size: int, repeats: int = 20, seed: int = 0) -> float:
    """Compute one class's mean semantic scale over random subsets of one size.

    Args:
        rows: (m, d) finite.
        size: samples of a subset, at least 2.
        repeats: subsets; of a class of exactly ``size`` samples there is only one.
        seed: of the draws.

    Returns:
        Bits; NaN for m below ``size``.
    """
    num_rows = len(rows)
    if num_rows < size:
        return math.nan
    points = coordinates(rows)
    if num_rows == size:
        return float(bits_of_subsets(points, torch.arange(size)[None], rows.shape[1]))
    generator = torch.Generator().manual_seed(derive_seed(seed, num_rows))
    return float(bits_of_subsets(points, random_subsets(num_rows, size, repeats, generator), rows.shape[1]).mean())
