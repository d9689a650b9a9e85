"""By how much the last batch of samples has raised a class's S', over random orders of the samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.scales import semantic_scales
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_features
from semscale_pl.volumes import semantic_scale

# Rows of features gathered at once for several orders: 2^22 float64 numbers, as elsewhere.
_ELEMENTS = 2**22


class Increment(NamedTuple):
    """The relative increment (S_n - S_(n-1)) / S_(n-1) of one class.

    Args:
        mean: over the orders; NaN where fewer than two samples came before the last batch, or these are identical.
        low: of the interval that holds the central part of the orders.
        high: of that interval.
    """

    mean: float
    low: float
    high: float


@torch.no_grad()
def last_increment(samples: Tensor, batch: int, *, orders: int = 20, level: float = 0.95, seed: int = 0) -> Increment:
    """Measure what the last batch of a class's samples has added to S', had they come in random order.

    The paper takes the samples as they came. Which of them were last is chance, so the last batch is drawn anew for
    every order here; the interval is that chance.

    Args:
        samples: (n, d) of one class.
        batch: samples collected at a time.
        orders: how many.
        level: share of the orders within the interval, in (0, 1).
        seed: of the orders.

    Returns:
        The increment.

    Raises:
        TypeError: the samples are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or a number is out of range.

    Example:
        >>> samples = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
        >>> increment = last_increment(samples, 10)
        >>> 0.2 < increment.low < increment.mean < increment.high < 0.25
        True

    Reference: Ma et al. (ICLR 2023), appendix I2.
    """
    check_collection(samples, batch, orders)
    if not 0.0 < level < 1.0:
        raise ValueError(f"Expected `level` to be in (0, 1), but got {level}.")
    before = len(samples) - batch
    if before < 2:
        return Increment(math.nan, math.nan, math.nan)
    earlier = scales_of_orders(samples, [before], orders, seed)[0]
    values = (semantic_scale(samples) - earlier) / earlier
    if not bool(values.isfinite().all()):
        return Increment(math.nan, math.nan, math.nan)
    tail = (1.0 - level) / 2.0
    return Increment(float(values.mean()), float(values.quantile(tail)), float(values.quantile(1.0 - tail)))


@torch.no_grad()
def scales_of_orders(samples: Tensor, sizes: list[int], orders: int, seed: int = 0) -> Tensor:
    """Compute S' of the first samples of random orders.

    Args:
        samples: (n, d) of one class.
        sizes: numbers of samples, from 1 to n.
        orders: how many.
        seed: of the orders; an order is the same for every size.

    Returns:
        (len(sizes), orders) bits.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed))
    places = torch.stack([torch.randperm(len(samples), generator=generator) for _ in range(orders)])
    rows = []
    for size in sizes:
        lines = max(1, _ELEMENTS // (size * samples.shape[1]))
        rows.append(torch.cat([_scales(samples, part[:, :size]) for part in places.split(lines)]))
    return torch.stack(rows)


def check_collection(samples: Tensor, batch: int, orders: int) -> None:
    """Refuse what no collection can be.

    Raises:
        TypeError: the samples are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or a number is below 1.
    """
    check_features(samples, "samples", min_rows=1)
    for name, value in (("batch", batch), ("orders", orders)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")


def _scales(samples: Tensor, places: Tensor) -> Tensor:
    count, size = places.shape
    labels = torch.arange(count).repeat_interleave(size)
    return semantic_scales(samples[places.flatten()], labels, count)
