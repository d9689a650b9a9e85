"""The named samples are those that all distances name, in one piece and in many, and pairs are found anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from semscale_pl.features.source import ArraySource
from semscale_pl.measuring import samples as rooms
from semscale_pl.measuring.measuring import Settings, measure_source
from semscale_pl.measuring.samples import NEARLY_EQUAL, Samples, close_pairs

MIB = 2**20


def source_of(num_rows: int = 600, dim: int = 40, num_classes: int = 4, seed: int = 0) -> ArraySource:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, num_rows)
    rows = generator.normal(size=(num_classes, dim))[labels] + generator.normal(size=(num_rows, dim))
    return ArraySource(rows, labels, tuple(f"class {label}" for label in range(num_classes)))


def found_in(source: ArraySource, **settings: int) -> Samples:
    found = measure_source(source, Settings(), samples=3, **settings).samples
    assert found is not None
    return found


def rows_in(source: ArraySource) -> np.ndarray:
    return np.concatenate(list(source.rows(np.arange(source.num_rows), source.num_rows)))


def test_typical_and_distant_samples_are_the_nearest_and_the_farthest() -> None:
    source = source_of()
    found, rows = found_in(source), rows_in(source)
    for label in range(4):
        numbers = np.flatnonzero(source.labels == label)
        order = numbers[np.argsort(np.linalg.norm(rows[numbers] - rows[numbers].mean(0), axis=1))]
        assert list(found.typical[label]) == order[:3].tolist()
        assert list(found.distant[label]) == order[: -3 - 1 : -1].tolist()


def test_classes_too_large_for_memory_name_the_same_samples() -> None:
    source = source_of(num_rows=20_000, num_classes=2)
    tight, roomy = found_in(source, max_memory=38 * MIB, threads=1), found_in(source)
    assert (tight.typical, tight.distant) == (roomy.typical, roomy.distant)


@pytest.mark.parametrize("dim", [5, 40, 300])  # compared as they are, and by a sketch
def test_pairs_within_and_across_classes_are_found_with_their_distances(dim: int) -> None:
    source = source_of(dim=dim, num_rows=200)
    rows, labels = rows_in(source), source.labels.copy()
    usual = np.sqrt(2 * dim)
    rows[10] = rows[20]
    rows[30] = rows[40] + 0.5 * NEARLY_EQUAL * usual / np.sqrt(dim)
    rows[50] = rows[60] + 3 * NEARLY_EQUAL * usual / np.sqrt(dim)  # too far
    labels[10], labels[20], labels[30], labels[40] = 0, 1, 2, 2
    found = found_in(ArraySource(rows, labels, source.class_names))
    assert (found.within, found.across, found.copies, found.compared) == (1, 1, 1, 200)
    assert [pair.rows for pair in found.pairs] == [(10, 20), (30, 40)]
    assert found.pairs[0].classes == (0, 1)
    assert found.pairs[1].distance == pytest.approx(0.5 * NEARLY_EQUAL * usual)
    assert found.threshold == pytest.approx(NEARLY_EQUAL * usual, rel=0.1)


def test_a_large_offset_hides_no_pair_and_makes_none() -> None:
    source = source_of(num_rows=100)
    rows = rows_in(source) + 1e7
    rows[1] = rows[0]
    found = found_in(ArraySource(rows, source.labels, source.class_names))
    assert found.within + found.across == 1
    assert found.pairs[0].rows == (0, 1)


def test_copies_without_end_are_counted_among_fewer_samples_and_shown_once_each() -> None:
    rows = np.zeros((4000, 20))
    rows[0] = 1.0
    found = found_in(ArraySource(rows, np.arange(4000) % 2, ("a", "b")))
    assert found.compared < 4000
    shown = [row for pair in found.pairs if pair.classes[0] != pair.classes[1] for row in pair.rows]
    assert len(shown) == len(set(shown)) == 2 * rooms.MOST_SHOWN_PAIRS
    assert found.copies == found.within + found.across


def test_of_many_samples_a_random_part_is_compared_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST_COMPARED", 50)
    source = source_of(num_rows=200)
    first, second = found_in(source), found_in(source)
    assert first.compared == 50
    assert first == second


def test_close_pairs_agree_with_all_distances() -> None:
    points = np.random.default_rng(0).normal(size=(700, 3))
    lengths = np.linalg.norm(points[:, None] - points[None], axis=2)
    wanted = {(one, other) for one, other in np.argwhere(lengths <= 0.2).tolist() if one < other}
    found = close_pairs(points, 0.2, 10**6)
    assert found is not None
    assert {tuple(pair) for pair in found.tolist()} == wanted
    assert len(found) == len(wanted)
    assert close_pairs(points, 0.2, 5) is None


@pytest.mark.parametrize("counts", [(1,), (1, 1), (2, 0, 1)])
def test_tiny_classes_have_what_there_is(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.random.default_rng(0).normal(size=(len(labels), 3))
    found = found_in(ArraySource(rows, labels, tuple(map(str, range(len(counts))))))
    assert [len(near) for near in found.typical] == [min(3, count) for count in counts]
    assert all(not set(near) & set(far) for near, far in zip(found.typical, found.distant, strict=True))


def test_nobody_pays_who_does_not_ask() -> None:
    found = measure_source(source_of())
    assert found.samples is None
    assert found.as_dict()["samples"] is None
