"""Which samples are most typical of their class, which lie farthest off, and which are nearly equal to another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from semscale_pl.features.source import FeatureSource

# Nearly equal: this share of the usual distance between two samples of one class (root mean square) apart, at most.
NEARLY_EQUAL = 0.05
MOST_SHOWN_PAIRS = 12
# Comparing costs about a second for so many samples; of more, as many are chosen at random.
MOST_COMPARED = 50_000
_MOST_CANDIDATES = 500_000
# Samples are first compared by so many random projections, stretched to the length of the features. Two that are t
# apart are then more than 2 t apart by a chance of 1e-7 (chi-square of 16 degrees of freedom above 64).
_PROJECTIONS, _SLACK = 16, 2.0
_BLOCK_ELEMENTS = 2**19
_BLOCK_POINTS = 256


class Pair(NamedTuple):
    """Two samples that are nearly equal, by row and class number, and their distance."""

    rows: tuple[int, int]
    classes: tuple[int, int]
    distance: float


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of a measurement that are worth looking at, by their row numbers, counted from 0.

    Args:
        typical: for each class the rows nearest to its centre, the nearest first.
        distant: for each class the rows farthest from its centre, the farthest first; none of them is typical too.
        threshold: distance up to which two samples count as nearly equal, in the unit of the features.
        compared: samples among which pairs were looked for; chosen at random where they are not all.
        within: pairs nearly equal of one class.
        across: pairs nearly equal of two classes.
        copies: pairs among all these that do not differ at all.
        pairs: the closest of both kinds; no sample is in two of a kind.
    """

    typical: tuple[tuple[int, ...], ...]
    distant: tuple[tuple[int, ...], ...]
    threshold: float
    compared: int
    within: int
    across: int
    copies: int
    pairs: tuple[Pair, ...]


class SampleFinder:
    """Watches the rows of every class while they are measured, and keeps row numbers and a sketch of the samples.

    Args:
        source: of the rows.
        most: typical and distant samples to keep of each class.
        seed: of the projections and of the choice of samples to compare.
        budget: bytes for the sketch, and once more for the rows of candidates.
    """

    def __init__(self, source: FeatureSource, most: int, seed: int, budget: int) -> None:
        self._source, self._most, self._budget = source, most, budget
        generator = np.random.default_rng(seed)
        dim = source.num_features
        self._sides = min(dim, _PROJECTIONS)
        size = min(source.num_rows, MOST_COMPARED, max(2, budget // (8 * self._sides)))
        self._rows = np.sort(generator.choice(source.num_rows, size, replace=False, shuffle=False))
        self._sketch = np.zeros((size, self._sides))
        # Few features are compared as they are.
        stretch = 1.0 / math.sqrt(self._sides)
        self._basis = generator.normal(0.0, stretch, (dim, self._sides)) if dim > _PROJECTIONS else np.eye(dim)
        self._slack = _SLACK if dim > _PROJECTIONS else 1.0
        self._ends: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._generator = generator

    @property
    def held(self) -> int:
        """Bytes that are held while the classes are measured."""
        return self._sketch.nbytes + self._rows.nbytes + self._basis.nbytes

    def see(self, label: int, numbers: np.ndarray, rows: np.ndarray, mean: np.ndarray) -> None:
        """Take in rows (m, d) of a class, their row numbers (m,) and the mean of the class; several times a class."""
        distances = np.empty(len(rows))
        height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
        for start in range(0, len(rows), height):
            block = np.subtract(rows[start : start + height], mean, dtype=np.float64)
            distances[start : start + height] = np.einsum("nd,nd->n", block, block)
        self._keep_ends(label, numbers, distances)
        places = np.searchsorted(self._rows, numbers).clip(max=len(self._rows) - 1)
        kept = np.flatnonzero(self._rows[places] == numbers)
        for start in range(0, len(kept), height):
            part = kept[start : start + height]
            self._sketch[places[part]] = rows[part].astype(np.float64) @ self._basis

    def found(self, spread: float) -> Samples:
        """Compare the samples, and return what is worth showing.

        Args:
            spread: root-mean-square distance between two samples of one class.
        """
        threshold = NEARLY_EQUAL * spread
        positions, candidates = self._candidates(threshold)
        close, lengths = self._close(self._rows[candidates], threshold)
        labels = self._source.labels[close]
        same = labels[:, 0] == labels[:, 1]
        ends = [self._ends.get(label, (np.zeros((2, 0)),) * 2) for label in range(len(self._source.class_names))]
        typical = [_rows_of(near) for near, _ in ends]
        distant = [
            [row for row in _rows_of(far) if row not in own] for (_, far), own in zip(ends, typical, strict=True)
        ]
        return Samples(
            typical=tuple(map(tuple, typical)),
            distant=tuple(map(tuple, distant)),
            threshold=threshold,
            compared=len(positions),
            within=int(same.sum()),
            across=int((~same).sum()),
            copies=int((lengths == 0).sum()),
            pairs=tuple(pair for kind in (~same, same) for pair in _shown(close[kind], labels[kind], lengths[kind])),
        )

    def _keep_ends(self, label: int, numbers: np.ndarray, distances: np.ndarray) -> None:
        entries = np.stack([distances, numbers])
        near, far = self._ends.get(label, (entries[:, :0], entries[:, :0]))
        self._ends[label] = (
            _first(np.concatenate([near, entries], 1), self._most, 1.0),
            _first(np.concatenate([far, entries], 1), self._most, -1.0),
        )

    def _candidates(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions that were compared, and those of pairs (k, 2) that the sketch does not tell apart.

        Where there are too many pairs to look at one by one, every second sample is left out, at random.
        """
        positions = np.arange(len(self._rows))
        most_rows = max(2, self._budget // (8 * self._source.num_features))
        while True:
            pairs = close_pairs(self._sketch[positions], self._slack * threshold, _MOST_CANDIDATES)
            if pairs is not None and len(np.unique(pairs)) <= most_rows:
                return positions, positions[pairs]
            positions = np.sort(self._generator.choice(positions, len(positions) // 2, replace=False))

    def _close(self, pairs: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return those of the pairs of rows (k, 2) that are close, and their distances (k,), computed from the rows."""
        if not len(pairs):
            return pairs.astype(np.int64), np.zeros(0)
        wanted, places = np.unique(pairs, return_inverse=True)
        rows = np.concatenate([piece.copy() for piece in self._source.rows(wanted, 4096)])
        places = places.reshape(-1, 2)
        lengths = np.empty(len(pairs))
        height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
        for start in range(0, len(pairs), height):
            one, other = places[start : start + height].T
            lengths[start : start + height] = np.linalg.norm(rows[one].astype(np.float64) - rows[other], axis=1)
        close = np.flatnonzero(lengths <= threshold)
        return pairs[close], lengths[close]


def close_pairs(points: np.ndarray, reach: float, most: int) -> np.ndarray | None:
    """Find the pairs of points (n, k) that are at most ``reach`` apart, and perhaps some a rounding error beyond.

    The points are sorted along the direction of their largest variance, so that a block is compared with those behind
    it that it can reach there.

    Returns:
        (p, 2) positions, the smaller first; None where there are more than ``most`` pairs.

    Example:
        >>> close_pairs(np.array([[0.0], [5.0], [0.5]]), 1.0, 9)
        array([[0, 2]])
    """
    points = points - points.mean(0)
    direction = np.linalg.eigh(points.T @ points)[1][:, -1]
    along = points @ direction
    order = np.argsort(along, kind="stable")
    points, along = points[order], along[order]
    squares = np.square(points).sum(1)
    most_square = reach**2 + 1e-12 * float(squares.max(initial=0.0))
    ends = np.searchsorted(along, along + math.sqrt(most_square), side="right")
    found, count = [np.zeros((0, 2), np.int64)], 0
    for start in range(0, len(points), _BLOCK_POINTS):
        stop = min(start + _BLOCK_POINTS, len(points))
        for low in range(start, int(ends[stop - 1]), 8 * _BLOCK_POINTS):
            part = slice(low, min(low + 8 * _BLOCK_POINTS, int(ends[stop - 1])))
            apart = points[start:stop] @ (-2.0 * points[part].T)
            apart += squares[part]
            one, other = np.nonzero(apart <= (most_square - squares[start:stop])[:, None])
            pairs = np.stack([one + start, other + low], 1)
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            found.append(pairs)
            count += len(pairs)
            if count > most:
                return None
    return np.sort(order[np.concatenate(found)], axis=1)


def _first(entries: np.ndarray, most: int, sign: float) -> np.ndarray:
    """Return the first columns of distances and row numbers (2, m) by distance, then by number."""
    return entries[:, np.lexsort((entries[1], sign * entries[0]))[:most]]


def _rows_of(entries: np.ndarray) -> list[int]:
    return [int(number) for number in entries[1]]


def _shown(pairs: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> Iterator[Pair]:
    """Yield the closest pairs; a sample that is in one of them is in no further one, so that copies do not fill all."""
    taken: set[Any] = set()
    for place in np.lexsort((pairs[:, 1], pairs[:, 0], lengths)).tolist():
        rows = pairs[place].tolist()
        if len(taken) < 2 * MOST_SHOWN_PAIRS and not taken.intersection(rows):
            taken.update(rows)
            first, second = labels[place].tolist()
            yield Pair((rows[0], rows[1]), (first, second), float(lengths[place]))
