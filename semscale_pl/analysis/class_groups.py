"""Which classes are in memory together: groups whose rows fit a budget, and the classes too large for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semscale_pl.analysis.feature_source import FeatureSource

_MIB = 2**20
# Blocks of a class in float64, and pieces of a file.
_PER_THREAD, _FIXED = 16 * _MIB, 16 * _MIB
# Matrices that a log-determinant holds at once.
_MATRICES = 4
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Plan:
    """How a source is walked through.

    Args:
        groups: classes whose rows are read together.
        streamed: classes of which a group's share of the memory cannot hold the rows, in groups of which it can hold
            the scatter matrices.
        threads: classes that are computed at once.
        group_bytes: most bytes of the rows of a group.
    """

    groups: tuple[tuple[int, ...], ...]
    streamed: tuple[tuple[int, ...], ...]
    threads: int
    group_bytes: int


def plan_groups(source: FeatureSource, budget: int, threads: int) -> Plan:
    """Choose groups of classes that fit a budget; while one is computed, the next is read.

    Args:
        source: what is measured.
        budget: bytes for everything that measuring holds.
        threads: classes to compute at once, fewer where memory is short.

    Raises:
        ValueError: not even one class fits.
    """
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    dim = source.num_features
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
    present = [label for label, count in enumerate(counts) if count]
    small = [label for label in present if counts[label] * row_bytes <= group_bytes]
    large = [label for label in present if counts[label] * row_bytes > group_bytes]
    matrix = dim * dim * 8
    if large and matrix > group_bytes:
        raise ValueError(
            f"Expected `max_memory` to hold a {dim:,} x {dim:,} matrix twice, but it leaves "
            f"{group_bytes / _MIB:,.0f} MiB. Raise it, or lower `num_features`."
        )
    return Plan(
        # Nothing can be computed while the first group is read: it is kept short, and the next ones each twice as long.
        tuple(_packed(small, [int(counts[label]) * row_bytes for label in small], group_bytes // 8, group_bytes)),
        tuple(_packed(large, [matrix] * len(large), group_bytes, group_bytes)),
        threads,
        group_bytes,
    )


def row_numbers(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return the ascending row numbers of every class.

    Args:
        labels: (N,) int64 in [0, C).
        num_classes: C.

    Example:
        >>> row_numbers(np.array([1, 0, 1]), 2)
        [array([1]), array([0, 2])]
    """
    ends = np.bincount(labels, minlength=num_classes).cumsum()
    # numpy sorts 16-bit numbers by their digits, many times as fast.
    short = labels.astype(np.uint16) if num_classes <= 2**16 else labels
    return np.split(np.argsort(short, kind="stable"), ends[:-1])


def read_group(source: FeatureSource, numbers: Sequence[np.ndarray], space: np.ndarray) -> list[np.ndarray]:
    """Read the rows of several classes in one go through the source.

    Args:
        source: where from.
        numbers: row numbers of each class.
        space: as many bytes as the rows of any group take, to read into: fresh memory costs as much as reading.

    Returns:
        (m, d) rows of each class, in that space.
    """
    together = np.concatenate(numbers)
    places = np.argsort(together, kind="stable")
    wanted, start = together[places], 0
    size = len(together) * source.num_features
    rows = space.view(f"f{source.itemsize}")[:size].reshape(len(together), source.num_features)
    for piece in source.rows(wanted, _ROWS_AT_ONCE):
        rows[places[start : start + len(piece)]] = piece
        start += len(piece)
    if start != len(together):
        raise ValueError(f"Expected {len(together):,} rows from {source.name}, but got {start:,}. The file is cut off.")
    return np.split(rows, np.cumsum([len(part) for part in numbers])[:-1])


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
