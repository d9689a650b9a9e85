"""What to collect next: for each class whether a further batch is worth it, and how a budget is best allocated."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from semscale_pl.advice.growth import Growth, fit_growth, last_increment
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.options import check, check_choice
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_features, check_labels

GAINS = ("relative", "absolute")


@dataclass(frozen=True)
class ClassAdvice:
    """What is advised for one class.

    Args:
        name: of the class.
        count: samples there are.
        scale: S' in bits.
        increment: share of S' that the last batch has added, averaged over orders; NaN for too few samples.
        low: of the interval over orders.
        high: of that interval.
        stop: whether the increment is below the threshold.
        certain: whether the whole interval is on the same side of the threshold.
        next_gain: share of S' that a further batch is predicted to add; NaN for too few samples.
        enough: predicted number of samples from which a batch adds less than the threshold; None where unknown.
        allocation: new samples of the budget for this class.
    """

    name: str
    count: int
    scale: float
    increment: float
    low: float
    high: float
    stop: bool
    certain: bool
    next_gain: float
    enough: int | None
    allocation: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; ``grant`` is what files called the allocation at first."""
        return {**asdict(self), "grant": self.allocation}


@dataclass(frozen=True)
class Advice:
    """What is advised for all classes.

    Args:
        classes: in the order of their numbers.
        batch: samples collected at a time.
        threshold: share of S' below which a batch is not worth it.
        budget: new samples in all.
        unspent: samples of the budget that no class is worth.
    """

    classes: tuple[ClassAdvice, ...]
    batch: int
    threshold: float
    budget: int
    unspent: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "classes": [entry.as_dict() for entry in self.classes]}


def advise(
    features: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    batch: int,
    threshold: float,
    budget: int = 0,
    orders: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Advice:
    """Apply the rule of the paper to every class, and allocate a budget to those that still gain.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C); every class has a sample.
        class_names: C names.
        batch: samples collected at a time.
        threshold: stop where the last batch has added less than this share of S', above 0.
        budget: new samples to allocate, in whole batches.
        orders: random orders behind each interval.
        seed: of the orders.
        progress: called after each class with how many are done, of how many.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: their shapes do not match, a class has no sample, or a number is out of range.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.cat([torch.randn(400, 3, generator=generator), torch.randn(20, 3, generator=generator)])
        >>> labels = torch.tensor([0] * 400 + [1] * 20)
        >>> advice = advise(features, labels, ["many", "few"], batch=10, threshold=0.01, budget=20)
        >>> [(entry.stop, entry.allocation) for entry in advice.classes]
        [(True, 0), (False, 20)]

    Reference: Ma et al. (ICLR 2023), appendix I2, for the rule; intervals and budget are not the paper's.
    """
    check_features(features, min_rows=1)
    check_labels(labels, len(features), len(class_names))
    check(batch=batch, orders=orders, threshold=threshold, budget=budget)
    entries, growths = [], []
    for label, name in enumerate(class_names):
        samples = features[labels == label]
        if not len(samples):
            raise ValueError(f"Expected every class to have a sample, but class {name!r} has none. Leave it out.")
        increment = last_increment(samples, batch, orders=orders, seed=derive_seed(seed, label))
        growth = fit_growth(samples, orders=orders, seed=derive_seed(seed, label, 1))
        growths.append(growth)
        # A class too small for the rule has increments of NaN, for which `stop` is False: it goes on.
        entries.append(
            ClassAdvice(
                name=str(name),
                count=len(samples),
                scale=float(semantic_scale(samples)),
                increment=increment.mean,
                low=increment.low,
                high=increment.high,
                stop=increment.mean < threshold,
                certain=increment.high < threshold or increment.low >= threshold,
                next_gain=growth.gain(len(samples), batch) if growth else math.nan,
                enough=growth.enough(batch, threshold) if growth else None,
            )
        )
        if progress is not None:
            progress(label + 1, len(class_names))
    numbers, unspent = allocate(growths, [entry.count for entry in entries], budget, batch, threshold)
    classes = tuple(replace(entry, allocation=number) for entry, number in zip(entries, numbers, strict=True))
    return Advice(classes, batch, threshold, budget, unspent)


class Allocation(NamedTuple):
    """How a budget is spread over the classes.

    Args:
        samples: new samples for each class.
        unspent: what is left, because no class would gain as much as the threshold, or too little for a batch.
    """

    samples: list[int]
    unspent: int


def allocate(
    growths: Sequence[Growth | None],
    counts: Sequence[int],
    budget: int,
    batch: int,
    threshold: float = 0.0,
    gain: str = "relative",
) -> Allocation:
    """Allocate batch after batch to the class whose S' is predicted to gain most.

    The logarithms of the curves are concave, so that for relative gains no other allocation of whole batches has a
    larger predicted sum of log S', up to the size of a batch; for gains in bits and the sum of S' it takes curves of a
    power up to 1. A class without a curve has too few samples for a prediction: such classes come first, fewest samples
    first, with one batch each.

    Args:
        growths: of each class, None where it could not be fitted.
        counts: samples of each class.
        budget: new samples in all.
        batch: samples at a time.
        threshold: relative gain below which a batch is not worth it.
        gain: what is largest: ``relative``, the increment of the paper's rule, or ``absolute``, bits.

    Raises:
        ValueError: a number is out of range, the lists differ in length, or there is no such gain.

    Example:
        >>> allocate([Growth(10.0, 5.0, 1.0), Growth(10.0, 50.0, 1.0)], [20, 20], 40, 20)
        Allocation(samples=[0, 40], unspent=0)
    """
    check_choice(gain, GAINS, "gain")
    if len(growths) != len(counts):
        raise ValueError(f"Expected one count a curve, but got {len(counts)} and {len(growths)}.")
    if batch < 1 or budget < 0:
        raise ValueError(f"Expected `batch` above 0 and `budget` of at least 0, but got {batch} and {budget}.")

    def entry(label: int, count: int) -> tuple[float, int, int]:
        """Return what orders the queue: largest gain first, then fewest samples, then the class's number."""
        growth = growths[label]
        return -math.inf if growth is None else -growth.gain(count, batch, gain == "relative"), count, label

    samples, left = [0] * len(counts), budget
    queue = [entry(label, count) for label, count in enumerate(counts)]
    heapq.heapify(queue)
    while queue and left >= batch:
        _, count, label = heapq.heappop(queue)
        growth = growths[label]
        if growth is not None and growth.gain(count, batch) < threshold:
            continue
        samples[label] += batch
        left -= batch
        if growth is not None:
            heapq.heappush(queue, entry(label, count + batch))
    return Allocation(samples, left)
