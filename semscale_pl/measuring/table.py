"""All classes of a source, a row of numbers for each, computed group by group within a memory budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.source import FeatureSource
from semscale_pl.measuring.kernel import (
    LARGEST,
    Centre,
    ClassSettings,
    ClassStatistics,
    centre_of,
    scatter_of,
    statistics_of_rows,
    statistics_of_sums,
)

# What looks at the rows of a class (m, d), besides: its number, row numbers (m,), rows, mean (d,).
Watcher = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]
# What else to compute from the rows (m, d) of a class: one number, or several.
Extra = Callable[[Tensor], float | Sequence[float]]
Progress = Callable[[int, int], None]

_MIB = 2**20
# Blocks of a class in float64, and pieces of a file.
_PER_THREAD, _FIXED = 16 * _MIB, 16 * _MIB
# Matrices that a log-determinant holds at once.
_MATRICES = 4
_ROWS_AT_ONCE = 4096
_PIECE_BYTES = 16 * _MIB


class ClassTable:
    """Numbers by class, none entered yet; NaN (or -1) where a class is absent.

    Args:
        source: of the classes.
        spectrum: eigenvalues of each to make room for.
        extras: names of what else is asked for.

    Attributes:
        counts: (C,) int64.
        means: (C, d).
        scales: (C,) bits.
        shrunk: (C,) bits with OAS, NaN where not asked for.
        spectra: (C, k), NaN-padded.
        ranks: (C,) int64, -1 where not computed.
        distinct: (C,) int64 samples that differ, -1 where not compared.
        deviations: (C,) root of the summed variances.
        within: (d,) sum of the squared deviations of each feature from its class mean.
        extras: what was asked for besides, (C,) or (C, ...) each.
        sampled: classes of which the extras saw a random part only.
    """

    def __init__(self, source: FeatureSource, spectrum: int, extras: Iterable[str]) -> None:
        size, dim, self.counts = len(source.class_names), source.num_features, source.counts
        width = min(spectrum, dim, max(1, int(self.counts.max())))
        self.means, self.spectra = np.full((size, dim), math.nan), np.full((size, width), math.nan)
        self.scales, self.shrunk, self.deviations = np.full((3, size), math.nan)
        self.ranks, self.distinct = np.full((2, size), -1)
        self.within = np.zeros(dim)
        self.extras: dict[str, list[float | Sequence[float]]] = {name: [math.nan] * size for name in extras}
        self.sampled: list[int] = []

    @property
    def constant_features(self) -> np.ndarray:
        """Indices of the features that have one value in all samples."""
        present = self.means[self.counts > 0]
        return np.flatnonzero((self.within == 0) & (present == present[0]).all(0))

    @property
    def spread(self) -> float:
        """Root-mean-square distance between two samples of one class."""
        freedom = int(self.counts.sum() - (self.counts > 0).sum())
        return math.sqrt(2.0 * float(self.within.sum()) / max(1, freedom))

    @property
    def feature_deviations(self) -> np.ndarray:
        """Standard deviation of each feature within the classes, (d,)."""
        return np.sqrt(self.within / max(1, self.counts.sum()))

    def put(self, label: int, found: ClassStatistics) -> None:
        """Enter the numbers of a class."""
        self.means[label], self.scales[label], self.shrunk[label] = found.mean, found.bits, found.shrunk_bits
        kept = found.eigenvalues[: self.spectra.shape[1]]
        self.spectra[label, : len(kept)] = kept
        self.ranks[label], self.distinct[label] = found.rank, found.distinct
        self.deviations[label] = math.sqrt(found.variances.sum())
        self.within += found.variances * found.count


def class_table(
    source: FeatureSource,
    settings: ClassSettings,
    *,
    budget: int,
    threads: int | None,
    extras: Mapping[str, Extra],
    seed: int,
    progress: Progress | None,
    watcher: Watcher | None = None,
) -> ClassTable:
    """Compute the numbers of all classes.

    Args:
        source, settings: what to measure, and how.
        budget: bytes for everything held at once.
        threads: classes computed at once; None for as many as torch has threads.
        extras: further functions of the rows of a class, by name. A class too large for memory shows them as many
            random rows as fit.
        seed: of those rows.
        progress: called after every class with how many are done, and of how many.
        watcher: called with all rows of every class, in several threads, a class in several pieces where it is large.

    Raises:
        ValueError: a feature is not finite, or the budget is too small.
    """
    plan = plan_groups(source, budget, threads or torch.get_num_threads())
    table = ClassTable(source, settings.spectrum, extras)
    indices = row_indices(source.labels, len(source.class_names))
    total, done, bad = int((table.counts > 0).sum()), 0, []
    with _one_thread_each():
        for label, found in _walk(source, settings, plan, indices, table, extras, seed, watcher):
            done += 1
            if found is None:
                bad.append(label)
            else:
                table.put(label, found)
            if progress is not None:
                progress(done, total)
    if bad:
        raise ValueError(unusable_rows(source, np.sort(np.concatenate([indices[label] for label in bad]))))
    return table


@dataclass(frozen=True)
class Plan:
    """How a source is walked through."""

    groups: tuple[tuple[int, ...], ...]  # classes whose rows are read together
    # Classes of which a group's share of the memory cannot hold the rows, in groups of which it can hold the scatter.
    streamed: tuple[tuple[int, ...], ...]
    threads: int  # classes that are computed at once, fewer than wanted where memory is short
    group_bytes: int  # most bytes of the rows of a group


def plan_groups(source: FeatureSource, budget: int, threads: int) -> Plan:
    """Choose groups of classes that fit a budget in bytes; while one is computed, the next is read.

    Raises:
        ValueError: not even one class fits.
    """
    counts, dim = source.counts, source.num_features
    side = min(int(counts.max()), dim)
    work = _MATRICES * side * side * 8 + _PER_THREAD
    fixed = _FIXED + source.num_rows * 8 + 2 * len(counts) * dim * 8
    threads = max(1, min(threads, (budget - fixed) // (2 * work)))
    group_bytes = (budget - fixed - threads * work) // 2
    row_bytes = dim * source.itemsize
    if group_bytes < max(row_bytes, _MIB):
        needed = fixed + work + 2 * max(row_bytes, _MIB)
        raise ValueError(
            f"Expected `max_memory` to leave {needed / _MIB:,.0f} MiB for {len(counts):,} classes of {dim:,} features, "
            f"but got {max(0, budget) / _MIB:,.0f} MiB. Raise it, or lower `num_features`."
        )
    sizes = (counts * row_bytes).tolist()
    small = [label for label, size in enumerate(sizes) if 0 < size <= group_bytes]
    large = [label for label, size in enumerate(sizes) if size > group_bytes]
    matrix = dim * dim * 8
    if large and matrix > group_bytes:
        raise ValueError(
            f"Expected `max_memory` to hold a {dim:,} x {dim:,} matrix twice, but it leaves "
            f"{group_bytes / _MIB:,.0f} MiB. Raise it, or lower `num_features`."
        )
    return Plan(
        # Nothing can be computed while the first group is read: it is kept short, and the next ones each twice as long.
        tuple(_packed(small, [sizes[label] for label in small], group_bytes // 8, group_bytes)),
        tuple(_packed(large, [matrix] * len(large), group_bytes, group_bytes)),
        threads,
        group_bytes,
    )


def row_indices(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return the ascending row indices of every class.

    Example:
        >>> row_indices(np.array([1, 0, 1]), 2)
        [array([1]), array([0, 2])]
    """
    ends = np.bincount(labels, minlength=num_classes).cumsum()
    # numpy sorts 16-bit numbers by their digits, many times as fast.
    short = labels.astype(np.uint16) if num_classes <= 2**16 else labels
    return np.split(np.argsort(short, kind="stable"), ends[:-1])


def read_group(source: FeatureSource, indices: Sequence[np.ndarray], buffer: np.ndarray) -> list[np.ndarray]:
    """Read the rows (m, d) of several classes in one go through the source.

    They lie in the buffer of as many bytes as the rows of any group take: fresh memory costs as much as reading.
    """
    together = np.concatenate(indices)
    order = np.argsort(together, kind="stable")
    wanted, start = together[order], 0
    size = len(together) * source.num_features
    rows = buffer.view(f"f{source.itemsize}")[:size].reshape(len(together), source.num_features)
    for piece in source.rows(wanted, _ROWS_AT_ONCE):
        rows[order[start : start + len(piece)]] = piece
        start += len(piece)
    if start != len(together):
        raise ValueError(f"Expected {len(together):,} rows from {source.name}, but got {start:,}. The file is cut off.")
    return np.split(rows, np.cumsum([len(part) for part in indices])[:-1])


def statistics_of_streams(
    source: FeatureSource,
    classes: Sequence[int],
    indices: Sequence[np.ndarray],
    settings: ClassSettings,
    watcher: Watcher | None = None,
) -> list[ClassStatistics | None]:
    """Compute the numbers of classes too large for memory: first their means, then the scatter about them.

    Returns:
        One result for each of the classes and their row indices; None where a feature is not finite.
    """
    wanted = np.sort(np.concatenate(indices))
    centres: dict[int, Centre] = {}
    seen = dict.fromkeys(classes, 0)
    for label, _, rows in _by_class(source, wanted):
        part = centre_of(rows)
        before = centres.setdefault(label, Centre(part.first, np.zeros_like(part.delta)))
        with np.errstate(invalid="ignore", over="ignore"):
            step = (part.first - before.first) + (part.delta - before.delta)
            delta = before.delta + step * (len(rows) / (seen[label] + len(rows)))
        centres[label] = Centre(before.first, delta, before.bounded and part.bounded)
        seen[label] += len(rows)
    finite = [label for label in classes if centres[label].is_finite]
    scatters = {label: np.zeros((source.num_features, source.num_features)) for label in finite}
    for label, numbers, rows in _by_class(source, wanted):
        if label in scatters:
            scatters[label] += scatter_of(rows, centres[label])
            if watcher is not None:
                watcher(label, numbers, rows, centres[label].mean)

    def result(label: int) -> ClassStatistics | None:
        scatter = scatters.pop(label, None)
        if scatter is None:
            return None
        variances = scatter.diagonal() / seen[label]
        return statistics_of_sums(centres[label], seen[label], scatter, variances, settings)

    return [result(label) for label in classes]


def sample_of(source: FeatureSource, indices: np.ndarray, most_bytes: int, seed: int) -> np.ndarray:
    """Read as many rows (k, d) of a class, of which these are the indices, as fit, chosen at random."""
    size = max(2, math.floor(most_bytes / (source.num_features * source.itemsize)))
    chosen = np.random.default_rng(seed).choice(indices, min(size, len(indices)), replace=False)
    return np.concatenate([piece.copy() for piece in source.rows(np.sort(chosen), size)])


def unusable_rows(source: FeatureSource, wanted: np.ndarray) -> str:
    """Say how many rows have NaN, infinities and numbers too large to be squared, where the first is, what to do."""
    found, first, start = np.zeros(3, np.int64), -1, 0
    without_numbers = np.ones(source.num_features, bool)
    for piece in source.rows(wanted, _ROWS_AT_ONCE):
        beyond = np.isfinite(piece) & (np.abs(piece) > np.float64(LARGEST))
        wrong = np.stack([kind.any(1) for kind in (np.isnan(piece), np.isinf(piece), beyond)])
        if first < 0 and wrong.any():
            first = int(wanted[start + int(wrong.any(0).argmax())])
        without_numbers &= np.isnan(piece).all(0)
        found, start = found + wrong.sum(1), start + len(piece)
    nans, infinities, large = found.tolist()
    if not nans and not infinities:
        return (
            f"Expected the features of {source.name} to be at most {LARGEST:g}, so that they can be squared, but got "
            f"more in {large:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). Rescale them."
        )
    remedy = "Repair or leave out those rows"
    if without_numbers.any() and nans == source.num_rows:
        place, more = int(without_numbers.argmax()) + 1, int(without_numbers.sum()) - 1
        others = f" and {more:,} more" if more else ""
        remedy = f"No row has a number in feature {place:,} of {source.num_features:,}{others}: leave that out"
    return (
        f"Expected the features of {source.name} to be finite, but got NaN in {nans:,} and infinities in "
        f"{infinities:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). {remedy}."
    )


def _walk(
    source: FeatureSource,
    settings: ClassSettings,
    plan: Plan,
    indices: Sequence[np.ndarray],
    table: ClassTable,
    extras: Mapping[str, Extra],
    seed: int,
    watcher: Watcher | None,
) -> Iterator[tuple[int, ClassStatistics | None]]:
    """Yield every present class and its numbers; a group is read while the one before is computed."""

    def enter_extras(label: int, rows: np.ndarray) -> None:
        for name, extra in extras.items():
            table.extras[name][label] = extra(torch.from_numpy(rows))

    def computed(label: int, rows: np.ndarray) -> ClassStatistics | None:
        found = statistics_of_rows(rows, settings)
        if found is not None:
            enter_extras(label, rows)
            if watcher is not None:
                watcher(label, indices[label], rows, found.mean)
        return found

    def read(position: int) -> list[np.ndarray]:
        return read_group(source, [indices[label] for label in plan.groups[position]], buffers[position % 2])

    largest = max((sum(len(indices[label]) for label in group) for group in plan.groups), default=0)
    size = largest * source.num_features * source.itemsize
    buffers = [np.empty(size, np.uint8) for _ in plan.groups[:2]]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(plan.threads) as workers:
        pending: Future[list[np.ndarray]] | None = None
        for position, group in enumerate(plan.groups):
            pending = pending or reader.submit(read, position)
            rows, pending = pending.result(), None
            if position + 1 < len(plan.groups):
                pending = reader.submit(read, position + 1)
            yield from zip(group, workers.map(computed, group, rows), strict=True)
    for group in plan.streamed:
        found = statistics_of_streams(source, group, [indices[label] for label in group], settings, watcher)
        for label, entry in zip(group, found, strict=True):
            if entry is not None and extras:
                enter_extras(label, sample_of(source, indices[label], plan.group_bytes, seed))
                table.sampled.append(label)
            yield label, entry


def _packed(labels: Sequence[int], sizes: Sequence[int], first: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yield groups that are full, of a size that doubles from the first to the most."""
    group: list[int] = []
    total, limit = 0, first
    for label, size in zip(labels, sizes, strict=True):
        if group and total + size > limit:
            yield tuple(group)
            group, total, limit = [], 0, min(most, 2 * limit)
        group.append(label)
        total += size
    if group:
        yield tuple(group)


def _by_class(source: FeatureSource, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the wanted rows, class by class within each piece: class number, row numbers (k,), rows (k, d)."""
    size = max(1, _PIECE_BYTES // (source.num_features * source.itemsize))
    start = 0
    for piece in source.rows(wanted, size):
        numbers = wanted[start : start + len(piece)]
        labels = source.labels[numbers]
        start += len(piece)
        for label in np.unique(labels).tolist():
            yield label, numbers[labels == label], piece[labels == label]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let classes be computed side by side on one core each, which wastes less than many cores on one class."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
