"""The marginal effect: where more samples of a class stop adding volume, and where they stop adding accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from semscale_pl.imbalance import effective_numbers
from semscale_pl.statistics import Interval, mean_interval, paired_difference


class Saturation(NamedTuple):
    """Samples a class at which a curve has come up to its share, over several seeds.

    Args:
        point: geometric mean of the seeds' points; None where a seed has none.
        low: of the Student interval of the logarithms; None for fewer than two seeds.
        high: of the same.
        points: of each seed.
    """

    point: float | None
    low: float | None
    high: float | None
    points: tuple[float | None, ...]


def geometric_sizes(smallest: int, largest: int, number: int) -> list[int]:
    """Return whole numbers with nearly equal ratios, the sizes of nested sub-datasets.

    Args:
        smallest: first size, at least 1.
        largest: last size.
        number: how many, at least 2.

    Raises:
        ValueError: an argument is out of range, or the range is too narrow for so many different sizes.

    Example:
        >>> geometric_sizes(5, 500, 9)
        [5, 9, 16, 28, 50, 89, 158, 281, 500]

    Reference: Ma et al. (ICLR 2023), section 3 and appendix D1.
    """
    if not 1 <= smallest < largest or number < 2:
        raise ValueError(
            f"Expected 1 <= smallest < largest and at least 2 sizes, but got {smallest}, {largest} and {number}."
        )
    sizes = [round(smallest * (largest / smallest) ** (step / (number - 1))) for step in range(number)]
    if len(set(sizes)) < number:
        raise ValueError(f"Expected {number} different sizes from {smallest} to {largest}, but got {sizes}. Use fewer.")
    return sizes


def saturation_point(sizes: Sequence[int], values: Sequence[float], share: float = 0.95) -> float | None:
    """Find the size from which on a curve stays above a share of its value at the largest size.

    Between two sizes the curve is taken as straight over the logarithm of the size.

    Args:
        sizes: (K,) samples a class, rising.
        values: (K,) of the curve, the last above 0.
        share: in (0, 1).

    Returns:
        The size; the smallest one for a curve that is above the share everywhere, None for an undefined curve.

    Raises:
        ValueError: the lengths differ, or the share is outside (0, 1).

    Example:
        >>> saturation_point([1, 10, 100], [0.0, 0.9, 1.0], 0.9)
        10.0
    """
    if len(sizes) != len(values) or len(sizes) < 2 or not 0.0 < share < 1.0:
        raise ValueError(
            f"Expected two or more `sizes` and as many `values`, and a `share` in (0, 1), but got {len(sizes)}, "
            f"{len(values)} and {share}."
        )
    curve = np.asarray(values, dtype=np.float64)
    if not np.isfinite(curve).all() or curve[-1] <= 0.0:
        return None
    level = share * curve[-1]
    below = np.nonzero(curve < level)[0]
    if len(below) == 0:
        return float(sizes[0])
    last = int(below[-1])
    step = (level - curve[last]) / (curve[last + 1] - curve[last])
    return float(sizes[last] * (sizes[last + 1] / sizes[last]) ** step)


def saturation(sizes: Sequence[int], curves: Sequence[Sequence[float]], share: float = 0.95) -> Saturation:
    """Find the saturation point of each seed's curve, their geometric mean and its 95 % interval.

    Args:
        sizes: (K,) samples a class, rising.
        curves: one (K,) curve a seed.
        share: see :func:`saturation_point`.

    Returns:
        The point in samples a class.
    """
    points = tuple(saturation_point(sizes, curve, share) for curve in curves)
    if not points or any(point is None for point in points):
        return Saturation(None, None, None, points)
    interval: Interval = mean_interval([math.log(point) for point in points if point is not None])
    low, high = (None if bound is None else math.exp(bound) for bound in (interval.low, interval.high))
    return Saturation(math.exp(interval.mean), low, high, points)


def saturation_ratio(first: Saturation, second: Saturation) -> dict[str, float | int | None]:
    """Compare two saturation points seed by seed.

    Args:
        first: of one curve.
        second: of another, for the same seeds.

    Returns:
        ``ratio`` first over second, its 95 % interval ``low`` and ``high``, and ``n``; 1 means: at the same size.
    """
    pairs = [(a, b) for a, b in zip(first.points, second.points, strict=True) if a is not None and b is not None]
    if not pairs:
        return {"ratio": None, "low": None, "high": None, "n": 0}
    ones, others = ([math.log(value) for value in part] for part in zip(*pairs, strict=True))
    found = paired_difference(ones, others)
    low, high = (None if bound is None else math.exp(bound) for bound in (found.low, found.high))
    return {"ratio": math.exp(found.mean), "low": low, "high": high, "n": found.n}


def effective_number_curve(sizes: Sequence[int], beta: float) -> list[float]:
    """Return E_n = (1 - beta^n) / (1 - beta) at each size, the curve that the paper compares with.

    Args:
        sizes: (K,) samples a class.
        beta: in [0, 1]; (N - 1) / N for a class that N samples fill.

    Returns:
        (K,) numbers of samples.

    Reference: Cui et al. (CVPR 2019), eq. 2; Ma et al. (ICLR 2023), section 2.
    """
    return [float(value) for value in effective_numbers(torch.tensor(list(sizes)), beta)]


def relative(values: Sequence[float]) -> list[float]:
    """Divide a curve by its last value.

    Example:
        >>> relative([1.0, 2.0])
        [0.5, 1.0]
    """
    return [value / values[-1] for value in values]
