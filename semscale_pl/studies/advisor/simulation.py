"""A simulated collection: samples of a real dataset are hidden, and a policy says which class gets the next batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from semscale_pl.advice.advice import allocate
from semscale_pl.advice.growth import Growth, fit_growth, last_increment, scales_of_orders
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.seeding import derive_seed

# The paper's rule takes the samples as they come; ours averages over orders, or asks what the next batch would add.
RULES = ("as they come", "averaged", "predicted")
ORDERS = 10
# Policies whose batches are predicted before they are revealed. The advisor takes the largest predictions, which are
# more often too large than too small; the uniform policy does not choose.
MEASURED = ("advisor", "uniform")


def stops(samples: Tensor, batch: int, thresholds: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """Collect a class batch by batch until every rule has said stop for every threshold.

    Args:
        samples: (N, d) of the class in the order of collection.
        batch: samples at a time.
        thresholds: shares of S'.
        seed: of the averaged rule's orders.

    Returns:
        For each rule and threshold: samples at the stop, and the share of the whole class's S' that is then missing.
        A rule that never says stop has collected all.
    """
    full = float(semantic_scale(samples))
    found: dict[tuple[str, float], tuple[int, float]] = {}
    wanted = [(rule, threshold) for rule in RULES for threshold in thresholds]
    count, before = batch, float(semantic_scale(samples[:batch]))
    while count + batch <= len(samples) and len(found) < len(wanted):
        count += batch
        present = samples[:count]
        scale = float(semantic_scale(present))
        growth = fit_growth(present, orders=ORDERS, seed=seed)
        values = {
            "as they come": (scale - before) / before,
            "averaged": last_increment(present, batch, orders=ORDERS, seed=seed).mean,
            "predicted": growth.gain(count, batch) if growth else float("nan"),
        }
        for rule, threshold in wanted:
            if values[rule] < threshold:
                found.setdefault((rule, threshold), (count, scale))
        before = scale
    result = []
    for rule, threshold in wanted:
        count, scale = found.get((rule, threshold), (len(samples), full))
        result.append({"rule": rule, "threshold": threshold, "count": count, "left": 1.0 - scale / full})
    return result


class Reveal(NamedTuple):
    """What a batch was predicted to add to S' of its class, and what it has added, in bits.

    Args:
        number: of samples before it.
        predicted: by the growth curve.
        naive: by the increment of the batch before it, averaged over orders.
        revealed: what it has added.
    """

    number: int
    predicted: float
    naive: float
    revealed: float


class Collection:
    """The state of one simulated collection.

    Args:
        features: (N, d) of the whole dataset.
        labels: (N,) integers in [0, C).
        counts: samples of each class that are there at the start.
        batch: samples revealed at a time.
        seed: of the order in which a class's samples are revealed.
    """

    def __init__(self, features: Tensor, labels: Tensor, counts: list[int], batch: int, seed: int) -> None:
        self.features, self.batch, self.seed = features, batch, seed
        self.start, self.counts = list(counts), list(counts)
        generator = np.random.default_rng(seed)
        members = [(labels == label).nonzero().flatten() for label in range(len(counts))]
        self.orders = [rows[torch.from_numpy(generator.permutation(len(rows)))] for rows in members]
        self._growths: dict[int, tuple[int, Growth | None]] = {}

    @property
    def steps(self) -> int:
        """Return how many batches have been revealed."""
        return (sum(self.counts) - sum(self.start)) // self.batch

    def samples(self, label: int) -> Tensor:
        """Return the revealed samples of a class, (n, d)."""
        return self.features[self.orders[label][: self.counts[label]]]

    def rows(self) -> Tensor:
        """Return the row indices of all revealed samples."""
        return torch.cat([order[:count] for order, count in zip(self.orders, self.counts, strict=True)])

    def has_more(self, label: int) -> bool:
        """Return whether a class has a whole batch left."""
        return self.counts[label] + self.batch <= len(self.orders[label])

    def open_classes(self) -> list[int]:
        """Return the classes that have a whole batch left."""
        return [label for label in range(len(self.counts)) if self.has_more(label)]

    def growth(self, label: int) -> Growth | None:
        """Return the curve fitted to the revealed samples of a class."""
        count, growth = self._growths.get(label, (-1, None))
        if count != self.counts[label]:
            growth = fit_growth(self.samples(label), orders=ORDERS, seed=derive_seed(self.seed, label))
            self._growths[label] = (self.counts[label], growth)
        return growth

    def reveal(self, label: int) -> None:
        """Add a batch to a class."""
        self.counts[label] += self.batch

    def predicted_reveal(self, label: int) -> Reveal | None:
        """Add a batch to a class and compare it with its prediction; None where there were too few samples for one."""
        samples, growth, count = self.samples(label), self.growth(label), self.counts[label]
        self.reveal(label)
        if growth is None or count - self.batch < 2:
            return None
        before = float(semantic_scale(samples))
        earlier = scales_of_orders(samples, [count - self.batch], ORDERS, derive_seed(self.seed, label))[0]
        return Reveal(
            number=count,
            predicted=growth.gain(count, self.batch, relative=False),
            naive=before - float(earlier.mean()),
            revealed=float(semantic_scale(self.samples(label))) - before,
        )


def long_tail(num_classes: int, most: int, least: int, seed: int) -> list[int]:
    """Return exponentially decreasing counts from most to least, the classes in a seeded order.

    Example:
        >>> sorted(long_tail(3, 100, 4, 0))
        [4, 20, 100]
    """
    counts = np.geomspace(most, least, num_classes).round().astype(int)
    return [int(count) for count in np.random.default_rng(seed).permutation(counts)]


def _advisor(gain: str) -> Callable[[Collection], int]:
    def choose(collection: Collection) -> int:
        open_classes = collection.open_classes()
        growths = [collection.growth(label) for label in open_classes]
        counts = [collection.counts[label] for label in open_classes]
        samples, _ = allocate(growths, counts, collection.batch, collection.batch, gain=gain)
        return open_classes[int(np.argmax(samples))]

    return choose


def _uniform(collection: Collection) -> int:
    """Serve the classes in turn."""
    return _next_with_more(collection, collection.steps % len(collection.counts))


def _proportional(collection: Collection) -> int:
    """Draw a class as often as it occurs at the start: what an unguided collection would bring."""
    generator = np.random.default_rng(derive_seed(collection.seed, collection.steps))
    shares = np.asarray(collection.start) / sum(collection.start)
    return _next_with_more(collection, int(generator.choice(len(shares), p=shares)))


def _starved(collection: Collection) -> int:
    """Serve the class with the fewest samples."""
    return min(collection.open_classes(), key=lambda label: collection.counts[label])


def _next_with_more(collection: Collection, label: int) -> int:
    while not collection.has_more(label):
        label = (label + 1) % len(collection.counts)
    return label


POLICIES: dict[str, Callable[[Collection], int]] = {
    "advisor": _advisor("relative"),
    "advisor_bits": _advisor("absolute"),
    "starved": _starved,
    "uniform": _uniform,
    "proportional": _proportional,
}


def collect(collection: Collection, policy: str, budget: int) -> list[Reveal]:
    """Reveal whole batches as a policy says until a budget of samples is spent.

    Returns:
        What was predicted of each batch of a policy of :data:`MEASURED`; nothing for others.
    """
    reveals = []
    for _ in range(budget // collection.batch):
        label = POLICIES[policy](collection)
        if policy not in MEASURED:
            collection.reveal(label)
        elif (reveal := collection.predicted_reveal(label)) is not None:
            reveals.append(reveal)
    return reveals
