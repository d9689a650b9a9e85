"""Groups of classes: every class once, within the memory, and its rows in their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.features.source import ArraySource
from semscale_pl.measuring.table import plan_groups, read_group, row_indices

MIB = 2**20


def source_of(counts: list[int], dim: int, seed: int = 0) -> ArraySource:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    features = rng.standard_normal((len(labels), dim), dtype=np.float32)
    return ArraySource(features, labels, tuple(map(str, range(len(counts)))))


@pytest.mark.parametrize("num_classes", [1, 5, 2**16, 2**16 + 1, 70_000])
def test_row_indices_are_those_of_the_labels(num_classes: int) -> None:
    labels = np.random.default_rng(0).integers(0, num_classes, 300)
    labels[:2] = num_classes - 1
    found = row_indices(labels, num_classes)
    assert len(found) == num_classes
    for label in {0, num_classes - 1, *labels[:20].tolist()}:
        np.testing.assert_array_equal(found[label], np.flatnonzero(labels == label))


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 3000), min_size=1, max_size=20),
    spare=st.integers(4, 60),
    threads=st.integers(1, 4),
)
def test_every_present_class_is_in_one_group_that_fits(counts: list[int], spare: int, threads: int) -> None:
    counts[0] += 1
    source = source_of(counts, 256)
    try:
        plan = plan_groups(source, (32 + spare) * MIB, threads)
    except ValueError as error:
        assert "Expected `max_memory`" in str(error)  # noqa: PT017 -- whichever budget is too small says so
        return
    found = [label for group in (*plan.groups, *plan.streamed) for label in group]
    assert sorted(found) == [label for label, count in enumerate(counts) if count]
    for group in plan.groups:
        assert sum(counts[label] for label in group) * 256 * 4 <= plan.group_bytes


def test_the_first_group_is_short_and_the_next_ones_grow() -> None:
    source = source_of([100] * 400, 256)
    plan = plan_groups(source, 60 * MIB, 1)
    lengths = [len(group) for group in plan.groups]
    assert lengths[0] <= max(lengths) / 7
    assert lengths[:4] == sorted(lengths[:4])
    assert lengths[3] == max(lengths)


def test_rows_of_a_group_are_read_into_the_buffer_given() -> None:
    source = source_of([30, 0, 500, 7], 16)
    indices = row_indices(source.labels, 4)
    buffer = np.empty(507 * 16 * 4 + 100, np.uint8)
    rows = read_group(source, [indices[2], indices[3]], buffer)
    for label, part in zip((2, 3), rows, strict=True):
        (expected,) = source.rows(indices[label], 1000)
        np.testing.assert_array_equal(part, expected)
        assert np.shares_memory(part, buffer)


def test_a_source_that_ends_early_is_named() -> None:
    class Short(ArraySource):
        def rows(self, wanted, size):  # type: ignore[no-untyped-def]
            return super().rows(wanted[:-1], size)

    source = Short(np.zeros((5, 2)), np.zeros(5, int), ("a",), "short.npy")
    with pytest.raises(ValueError, match=r"Expected 5 rows from short.npy, but got 4. The file is cut off."):
        read_group(source, [np.arange(5)], np.empty(5 * 2 * 8, np.uint8))
