"""The numbers of all classes of a source, computed group by group within a memory budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from semscale_pl.analysis.centring import LARGEST
from semscale_pl.analysis.class_groups import Plan, plan_groups, read_group, row_numbers
from semscale_pl.analysis.class_statistics import ClassStatistics, Ruler, statistics_of_rows
from semscale_pl.analysis.feature_source import FeatureSource
from semscale_pl.analysis.streamed_classes import sample_of, statistics_of_streams

# What else to compute from the rows (m, d) of a class: one number, or several.
Extra = Callable[[Tensor], float | Sequence[float]]
Progress = Callable[[int, int], None]
_ROWS_AT_ONCE = 4096


@dataclass
class ClassTable:
    """Numbers by class; NaN (or -1) where a class is absent.

    Args:
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

    counts: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    shrunk: np.ndarray
    spectra: np.ndarray
    ranks: np.ndarray
    distinct: np.ndarray
    deviations: np.ndarray
    within: np.ndarray
    extras: dict[str, list[float | Sequence[float]]] = field(default_factory=dict)
    sampled: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, source: FeatureSource, spectrum: int, extras: Mapping[str, Extra]) -> ClassTable:
        """Make a table without numbers."""
        size, dim = len(source.class_names), source.num_features
        counts = np.bincount(source.labels, minlength=size)
        width = min(spectrum, dim, max(1, int(counts.max())))
        nans = [np.full(size, math.nan) for _ in range(3)]
        return cls(
            counts,
            np.full((size, dim), math.nan),
            nans[0],
            nans[1],
            np.full((size, width), math.nan),
            np.full(size, -1),
            np.full(size, -1),
            nans[2],
            np.zeros(dim),
            {name: [math.nan] * size for name in extras},
        )

    @property
    def constant_features(self) -> np.ndarray:
        """Numbers of the features that have one value in all samples."""
        present = self.means[self.counts > 0]
        return np.flatnonzero((self.within == 0) & (present == present[0]).all(0))

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
    ruler: Ruler,
    *,
    budget: int = 2**30,
    threads: int | None = None,
    extras: Mapping[str, Extra] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ClassTable:
    """Compute the numbers of all classes.

    Args:
        source: labelled features.
        ruler: how to measure.
        budget: bytes for everything held at once.
        threads: classes computed at once; as many as torch has threads unless given.
        extras: further functions of the rows of a class, by name. A class too large for memory shows them as many
            random rows as fit.
        seed: of those rows.
        progress: told after every class how many are done, and of how many.

    Raises:
        ValueError: a feature is not finite, or the budget is too small.
    """
    extras = extras or {}
    plan = plan_groups(source, budget, threads or torch.get_num_threads())
    table = ClassTable.empty(source, ruler.spectrum, extras)
    numbers = row_numbers(source.labels, len(source.class_names))
    total, done, bad = int((table.counts > 0).sum()), 0, []
    with _one_thread_each():
        walk = _walk(source, ruler, plan, numbers, table, extras, seed)
        for label, found in walk:
            done += 1
            if found is None:
                bad.append(label)
            else:
                table.put(label, found)
            if progress is not None:
                progress(done, total)
    if bad:
        raise ValueError(_not_finite(source, np.sort(np.concatenate([numbers[label] for label in bad]))))
    return table


def _walk(
    source: FeatureSource,
    ruler: Ruler,
    plan: Plan,
    numbers: Sequence[np.ndarray],
    table: ClassTable,
    extras: Mapping[str, Extra],
    seed: int,
) -> Iterator[tuple[int, ClassStatistics | None]]:
    """Yield every present class and its numbers; a group is read while the one before is computed."""

    def computed(label: int, rows: np.ndarray) -> ClassStatistics | None:
        found = statistics_of_rows(rows, ruler)
        if found is not None:
            _enter(table, extras, label, rows)
        return found

    def read(position: int) -> list[np.ndarray]:
        return read_group(source, [numbers[label] for label in plan.groups[position]], spaces[position % 2])

    largest = max((sum(len(numbers[label]) for label in group) for group in plan.groups), default=0)
    size = largest * source.num_features * source.itemsize
    spaces = [np.empty(size, np.uint8) for _ in plan.groups[:2]]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(plan.threads) as workers:
        pending: Future[list[np.ndarray]] | None = None
        for position, group in enumerate(plan.groups):
            pending = pending or reader.submit(read, position)
            rows, pending = pending.result(), None
            if position + 1 < len(plan.groups):
                pending = reader.submit(read, position + 1)
            yield from zip(group, workers.map(computed, group, rows), strict=True)
    for group in plan.streamed:
        found = statistics_of_streams(source, group, [numbers[label] for label in group], ruler)
        for label, entry in zip(group, found, strict=True):
            if entry is not None and extras:
                _enter(table, extras, label, sample_of(source, numbers[label], plan.group_bytes, seed))
                table.sampled.append(label)
            yield label, entry


def _enter(table: ClassTable, extras: Mapping[str, Extra], label: int, rows: np.ndarray) -> None:
    for name, extra in extras.items():
        table.extras[name][label] = extra(torch.from_numpy(rows))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let classes be computed side by side on one core each, which wastes less than many cores on one class."""
    import scipy.linalg  # noqa: F401 -- brings a BLAS of its own, and only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _not_finite(source: FeatureSource, wanted: np.ndarray) -> str:
    nans, infinities, large, first, start = 0, 0, 0, -1, 0
    for piece in source.rows(wanted, _ROWS_AT_ONCE):
        nan, infinite = np.isnan(piece).any(1), np.isinf(piece).any(1)
        beyond = (np.isfinite(piece) & (np.abs(piece) > np.float64(LARGEST))).any(1)
        wrong = nan | infinite | beyond
        if first < 0 and wrong.any():
            first = int(wanted[start + int(wrong.argmax())])
        nans, infinities, start = nans + int(nan.sum()), infinities + int(infinite.sum()), start + len(piece)
        large += int(beyond.sum())
    if not nans and not infinities:
        return (
            f"Expected the features of {source.name} to be at most {LARGEST:g}, so that they can be squared, but got "
            f"more in {large:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). Rescale them."
        )
    return (
        f"Expected the features of {source.name} to be finite, but got NaN in {nans:,} and infinities in "
        f"{infinities:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). Repair "
        "or leave out those rows."
    )
