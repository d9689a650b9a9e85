"""Compute the numbers of all classes of a source, group by group within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from semscale_pl.analysis.class_groups import Plan, plan_groups, read_group, row_numbers
from semscale_pl.analysis.class_statistics import ClassStatistics, Ruler, statistics_of_rows
from semscale_pl.analysis.class_table import ClassTable
from semscale_pl.analysis.feature_source import FeatureSource
from semscale_pl.analysis.streamed_classes import sample_of, statistics_of_streams
from semscale_pl.analysis.unusable_rows import unusable_rows

# What else to compute from the rows (m, d) of a class: one number, or several.
Extra = Callable[[Tensor], float | Sequence[float]]
Progress = Callable[[int, int], None]


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
        raise ValueError(unusable_rows(source, np.sort(np.concatenate([numbers[label] for label in bad]))))
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
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
