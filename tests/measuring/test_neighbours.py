"""Nearest centres are those of a plain search over all distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.measuring.measuring import nearest_centres


def searched(centres: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([[np.linalg.norm(a - b) for b in centres] for a in centres])
    np.fill_diagonal(lengths, np.inf)
    order = np.argsort(lengths, axis=1, kind="stable")[:, : min(size, len(centres) - 1)]
    return order, np.take_along_axis(lengths, order, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 60),
    dim=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1e3, 1e6]),
    size=st.integers(1, 6),
)
def test_numbers_and_distances_are_those_of_a_search(seed: int, count: int, dim: int, offset: float, size: int) -> None:
    centres = np.random.default_rng(seed).standard_normal((count, dim)) + offset
    numbers, distances = nearest_centres(centres, size)
    expected, lengths = searched(centres, size)
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_allclose(distances, lengths, rtol=1e-9)


def test_nearly_equal_centres_far_from_the_others_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 8)) * 1e4
    centres[7] = centres[3] + 1e-6
    centres[9] = centres[3]
    numbers, distances = nearest_centres(centres, 3)
    assert numbers[3, :2].tolist() == [9, 7]
    assert distances[3, 0] == 0.0
    assert distances[3, 1] == pytest.approx(np.linalg.norm(centres[7] - centres[3]), rel=1e-12)


def test_many_equal_centres_are_all_at_distance_zero() -> None:
    centres = np.concatenate([np.ones((30, 4)), np.zeros((1, 4))])
    numbers, distances = nearest_centres(centres, 5)
    assert (distances[:30] == 0.0).all()
    assert (numbers[:30] < 30).all()
    assert (numbers != np.arange(31)[:, None]).all()
    assert np.allclose(distances[30], 2.0)


def test_absent_classes_have_no_neighbours_and_are_none() -> None:
    centres = np.array([[0.0], [np.nan], [1.0], [5.0]])
    numbers, distances = nearest_centres(centres, 3)
    assert numbers.tolist() == [[2, 3, -1], [-1, -1, -1], [0, 3, -1], [2, 0, -1]]
    assert np.isnan(distances[1]).all()
    assert distances[0, :2].tolist() == [1.0, 5.0]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    centres = np.random.default_rng(1).standard_normal((50, 6))
    whole = nearest_centres(centres)
    monkeypatch.setattr("semscale_pl.measuring.measuring.num_lines", lambda length: 7)
    parts = nearest_centres(centres)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-13)
