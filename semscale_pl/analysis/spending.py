"""How a budget of new samples is best spread over the classes, one batch at a time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

from semscale_pl.analysis.growth import Growth
from semscale_pl.validation import check_choice

GAINS = ("relative", "absolute")


class Spending(NamedTuple):
    """How a budget is spread.

    Args:
        grants: samples for each class.
        unspent: what is left, because no class would gain as much as the threshold, or too little for a batch.
    """

    grants: list[int]
    unspent: int


def spend(
    growths: Sequence[Growth | None],
    counts: Sequence[int],
    budget: int,
    batch: int,
    threshold: float = 0.0,
    gain: str = "relative",
) -> Spending:
    """Give batch after batch to the class whose S' is predicted to gain most.

    The logarithms of the curves are concave, so that for relative gains no other way of spending whole batches has a
    larger predicted sum of log S', up to the size of a batch; for gains in bits and the sum of S' it takes curves of a
    power up to 1. A class without a
    curve has too few samples for a prediction: such classes come first, fewest samples first, with one batch each.

    Args:
        growths: of each class, None where it could not be fitted.
        counts: samples of each class.
        budget: new samples in all.
        batch: samples at a time.
        threshold: relative gain below which a batch is not worth it.
        gain: what is largest: ``relative``, the increment of the paper's rule, or ``absolute``, bits.

    Returns:
        Samples for each class, and what is left.

    Raises:
        ValueError: a number is out of range, the lists differ in length, or there is no such gain.

    Example:
        >>> spend([Growth(10.0, 5.0, 1.0), Growth(10.0, 50.0, 1.0)], [20, 20], 40, 20)
        Spending(grants=[0, 40], unspent=0)
    """
    check_choice(gain, GAINS, "gain")
    if len(growths) != len(counts):
        raise ValueError(f"Expected one count a curve, but got {len(counts)} and {len(growths)}.")
    if batch < 1 or budget < 0:
        raise ValueError(f"Expected `batch` above 0 and `budget` of at least 0, but got {batch} and {budget}.")
    grants, left = [0] * len(counts), budget
    unknown = sorted((count, label) for label, count in enumerate(counts) if growths[label] is None)
    queue = [(-math.inf, count, label) for count, label in unknown]
    queue += [_entry(growth, counts[label], label, batch, gain) for label, growth in enumerate(growths) if growth]
    heapq.heapify(queue)
    while queue and left >= batch:
        _, count, label = heapq.heappop(queue)
        growth = growths[label]
        if growth is not None and growth.gain(count, batch) < threshold:
            continue
        grants[label] += batch
        left -= batch
        if growth is not None:
            heapq.heappush(queue, _entry(growth, count + batch, label, batch, gain))
    return Spending(grants, left)


def _entry(growth: Growth, count: int, label: int, batch: int, gain: str) -> tuple[float, int, int]:
    """Return a queue's entry: largest gain first, then fewest samples, then the class's number."""
    return -growth.gain(count, batch, gain == "relative"), count, label
