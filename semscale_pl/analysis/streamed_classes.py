"""Classes whose rows do not fit into memory: their sums are kept instead, in two passes over the source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from semscale_pl.analysis.centring import Centre, centre_of, scatter_of
from semscale_pl.analysis.class_statistics import ClassStatistics, Ruler, assemble
from semscale_pl.analysis.feature_source import FeatureSource

_PIECE_BYTES = 2**24


def statistics_of_streams(
    source: FeatureSource, classes: Sequence[int], numbers: Sequence[np.ndarray], ruler: Ruler
) -> list[ClassStatistics | None]:
    """Compute the numbers of classes: first their means, then the scatter about them.

    Args:
        source: where from.
        classes: K class numbers.
        numbers: row numbers of each of them.
        ruler: how to measure.

    Returns:
        K results; None where a feature is not finite.
    """
    wanted = np.sort(np.concatenate(numbers))
    centres: dict[int, Centre] = {}
    seen = dict.fromkeys(classes, 0)
    for label, rows in _by_class(source, wanted):
        part = centre_of(rows, ruler.space)
        before = centres.setdefault(label, Centre(part.first, np.zeros_like(part.delta)))
        with np.errstate(invalid="ignore", over="ignore"):
            step = (part.first - before.first) + (part.delta - before.delta)
            delta = before.delta + step * (len(rows) / (seen[label] + len(rows)))
        centres[label] = Centre(before.first, delta, before.bounded and part.bounded)
        seen[label] += len(rows)
    finite = [label for label in classes if centres[label].is_finite]
    scatters = {label: np.zeros((source.num_features, source.num_features)) for label in finite}
    for label, rows in _by_class(source, wanted):
        if label in scatters:
            scatters[label] += scatter_of(rows, centres[label], ruler.space)
    results: list[ClassStatistics | None] = []
    for label in classes:
        if label not in scatters:
            results.append(None)
            continue
        scatter = scatters.pop(label)
        results.append(assemble(centres[label], seen[label], scatter, scatter.diagonal() / seen[label], ruler))
    return results


def sample_of(source: FeatureSource, numbers: np.ndarray, most_bytes: int, seed: int) -> np.ndarray:
    """Read as many rows of a class as fit, chosen at random.

    Args:
        source: where from.
        numbers: the class's row numbers.
        most_bytes: that the rows may take.
        seed: of the choice.

    Returns:
        (k, d) rows.
    """
    size = max(2, math.floor(most_bytes / (source.num_features * source.itemsize)))
    chosen = np.random.default_rng(seed).choice(numbers, min(size, len(numbers)), replace=False)
    return np.concatenate([piece.copy() for piece in source.rows(np.sort(chosen), size)])


def _by_class(source: FeatureSource, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the wanted rows, class by class within each piece."""
    size = max(1, _PIECE_BYTES // (source.num_features * source.itemsize))
    start = 0
    for piece in source.rows(wanted, size):
        labels = source.labels[wanted[start : start + len(piece)]]
        start += len(piece)
        for label in np.unique(labels).tolist():
            yield label, piece[labels == label]
