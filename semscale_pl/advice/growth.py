"""How S' of a class grows with its samples: what the last batch has added, and a curve for the next ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_features

# Features gathered at once for several orders: 2^22 numbers, as elsewhere.
_ELEMENTS = 2**22
# Below this there is nothing to fit three parameters to.
FEWEST = 6
_MOST_SAMPLES = 10**9


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
    _check_collection(samples, batch, orders)
    check(level=level)
    unknown, before = Increment(math.nan, math.nan, math.nan), len(samples) - batch
    if before < 2:
        return unknown
    earlier = scales_of_orders(samples, [before], orders, seed)[0]
    values = (semantic_scale(samples) - earlier) / earlier
    if not bool(values.isfinite().all()):
        return unknown
    tail = (1.0 - level) / 2.0
    return Increment(float(values.mean()), float(values.quantile(tail)), float(values.quantile(1.0 - tail)))


@torch.no_grad()
def scales_of_orders(samples: Tensor, sizes: list[int], orders: int, seed: int = 0) -> Tensor:
    """Compute S' of the first samples (n, d) of random orders, which are the same for every size from 1 to n.

    Returns:
        (len(sizes), orders) bits.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed))
    rows = torch.stack([torch.randperm(len(samples), generator=generator) for _ in range(orders)])
    found = []
    for size in sizes:
        orders_at_once = max(1, _ELEMENTS // (size * samples.shape[1]))
        found.append(torch.cat([scales_of_subsets(samples, part[:, :size]) for part in rows.split(orders_at_once)]))
    return torch.stack(found)


def scales_of_subsets(samples: Tensor, rows: Tensor) -> Tensor:
    """Compute S' in bits (K,) of subsets of samples (n, d), whose row indices are (K, m)."""
    labels = torch.arange(len(rows)).repeat_interleave(rows.shape[1])
    return semantic_scales(samples[rows.flatten()], labels, len(rows))


class Growth(NamedTuple):
    """The curve ceiling * x^power / (x^power + half^power) with x = m - 1: 0 for one sample; its logarithm is concave.

    Args:
        ceiling: bits of infinitely many samples.
        half: x that has half the ceiling.
        power: above 0; the smaller, the slower the curve saturates. Up to 1 the curve itself is concave, too.
    """

    ceiling: float
    half: float
    power: float

    def bits(self, count: float) -> float:
        """Return S' of a number of samples, at least 1."""
        part = (max(count, 1.0) - 1.0) ** self.power
        return self.ceiling * part / (part + self.half**self.power)

    def gain(self, count: float, batch: int, relative: bool = True) -> float:
        """Return by how much a further batch raises S', as a share of that of ``count`` (at least 2), or in bits."""
        before = self.bits(count)
        difference = self.bits(count + batch) - before
        return difference / before if relative else difference

    def enough(self, batch: int, threshold: float) -> int | None:
        """Return the least number of samples from which a batch adds less than a share of S'; None beyond 10^9.

        Example:
            >>> Growth(10.0, 9.0, 1.0).enough(10, 0.05)
            35
        """
        low, high = 1, 2
        while self.gain(high, batch) >= threshold:
            low, high = high, 2 * high
            if high > _MOST_SAMPLES:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.gain(middle, batch) >= threshold else (low, middle)
        return high


@torch.no_grad()
def fit_growth(samples: Tensor, *, orders: int = 10, points: int = 8, seed: int = 0) -> Growth | None:
    """Fit the growth of S' to random parts of a class, their sizes in a geometric grid from n/8 to n.

    Smaller parts say little about what is to come: while m < d, every sample still opens a direction of its own. For
    the same reason the ceiling means little where n itself is below d.

    Args:
        samples: (n, d) of one class.
        orders: random parts of each size.
        points: sizes, the largest of them n.

    Returns:
        The curve; None for fewer than six samples, or identical ones.

    Raises:
        TypeError: the samples are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or there are no orders.
    """
    _check_collection(samples, 1, orders)
    count = len(samples)
    if count < FEWEST:
        return None
    sizes = sorted({round(size) for size in np.geomspace(max(2, count / 8), count, points)})
    return fit_curve(sizes, scales_of_orders(samples, sizes, orders, seed).mean(1).tolist())


def fit_curve(sizes: list[int], bits: list[float]) -> Growth | None:
    """Fit the curve to S' at several sizes, by least squares in relative errors.

    Args:
        sizes: ascending, at least 2, the last one that of all samples.
        bits: S' of each.

    Returns:
        The curve; None for fewer than three sizes, or where a value is 0.
    """
    from scipy.optimize import least_squares

    values = np.asarray(bits)
    if len(sizes) < 3 or not (values > 0.0).all():
        return None
    logs, last = np.log(np.asarray(sizes, dtype=float) - 1.0), values[-1]

    def errors(parameters: np.ndarray) -> np.ndarray:
        log_ceiling, log_half, power = parameters
        # x^p / (x^p + h^p), by logarithms: no power overflows.
        shares = 1.0 / (1.0 + np.exp(power * (log_half - logs)))
        return np.exp(log_ceiling) * shares / values - 1.0

    # A ceiling far above what was seen is indistinguishable from growth without end.
    bounds = ([np.log(last), -5.0, 0.15], [np.log(100.0 * last), 25.0, 2.0])
    start = [np.log(1.3 * last), float(np.clip(logs[len(logs) // 2], -4.0, 24.0)), 0.8]
    found = least_squares(errors, start, bounds=bounds).x
    return Growth(float(np.exp(found[0])), float(np.exp(found[1])), float(found[2]))


def _check_collection(samples: Tensor, batch: int, orders: int) -> None:
    check_features(samples, "samples", min_rows=1)
    for name, value in (("batch", batch), ("orders", orders)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")
