"""The fast volume of a class: right to a relative 1e-6, or not given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.measuring.kernel import (
    Ruler,
    Workspace,
    bits_of_gram,
    fast_bits,
    single_precision_bits,
    statistics_of_rows,
)


def reference(rows: np.ndarray, root: float) -> float:
    values = np.linalg.svd(rows.astype(np.longdouble).astype(np.float64) - rows.astype(np.float64).mean(0))[1]
    return float(np.log1p((values * root) ** 2 / len(rows)).sum() / 2 / math.log(2))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([64, 65, 70, 150, 1300]),
    decay=st.floats(0.0, 6.0),
    size=st.floats(-4.0, 4.0),
    offset=st.sampled_from([0.0, 1.0, 100.0, 1e4]),
    correlated=st.booleans(),
    form=st.sampled_from(["plain", "rectified", "rounded", "common", "rare"]),
)
def test_float32_is_taken_only_where_it_is_right(
    seed: int, count: int, decay: float, size: float, offset: float, correlated: bool, form: str
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 64)) * 10 ** (size - decay * np.linspace(0, 1, 64))
    if correlated:
        rows = rows @ np.linalg.qr(rng.standard_normal((64, 64)))[0]
    if form == "rectified":
        rows = np.maximum(rows, 0.0)
    if form == "rounded":  # equal numbers are rounded the same way, so that errors add up
        rows = np.round(rows / 10**size * 4.0) * 10**size
    if form == "rare":
        rows = (rows > 2.0 * rows.std()) * 10**size
    if form == "common":
        rows += rng.standard_normal((count, 2)) @ rng.standard_normal((2, 64)) * 10**size
    rows = (rows + offset * 10**size).astype(np.float32)
    found = statistics_of_rows(rows, Ruler(8.0, 0))
    assert found is not None
    assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("count", "offset"), [(2880, 1e4), (200, 0.0), (210, 0.0)])
def test_rounding_that_hides_small_directions_is_seen(count: int, offset: float) -> None:
    # Nearly as many directions as samples, or a spread next to the rounding of the offset: float32 finds volume that
    # is not there, and an error estimated from the pivots alone would be small.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((count, 96 if offset else 200)) * 10 ** -np.linspace(0, 3, 96 if offset else 200)
        rows = (np.maximum(rows, 0.0) + offset).astype(np.float32)
        root = math.sqrt(rows.shape[1])
        found = statistics_of_rows(rows, Ruler(root, 0))
        assert found is not None
        assert found.bits == pytest.approx(reference(rows, root), rel=1e-6)


def test_equal_features_are_seen() -> None:
    rng = np.random.default_rng(0)
    for count in (64, 200):
        for first, second in ((12, 15), (0, 63), (5, 6), (30, 40)):
            rows = (rng.standard_normal((count, 64)) * 1e3).astype(np.float32)
            rows[:, second] = rows[:, first]
            found = statistics_of_rows(rows, Ruler(8.0, 0))
            assert found is not None
            assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6)


def test_both_precisions_are_used() -> None:
    rng = np.random.default_rng(0)
    easy = rng.standard_normal((200, 64)).astype(np.float32)
    hard = (easy * 1e3 @ np.outer(np.ones(64), np.ones(64)) + easy * 1e-3).astype(np.float32)
    for rows, taken in ((easy, True), (hard, False)):
        centred = rows - rows.mean(0)
        scatter = (centred.T @ centred).astype(np.float64)
        assert (single_precision_bits(scatter, 64 / 200, Workspace()) is not None) is taken
        found = statistics_of_rows(rows, Ruler(8.0, 0))
        assert found is not None
        assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6)


def test_next_to_nothing_and_huge_matrices_are_left_to_the_careful_way() -> None:
    assert fast_bits(np.eye(3) * 1e-9, Workspace()) is None
    assert fast_bits(np.full((3, 3), 1e300), Workspace()) is None
    bits, _ = bits_of_gram(np.eye(3) * 1e-9, 10, 3, Workspace())
    assert bits == pytest.approx(0.5 * 3 * 1e-9 / math.log(2), rel=1e-6)


def test_oas_equals_the_function_of_the_tensors() -> None:
    import torch

    import semscale_pl as ss

    rows = np.random.default_rng(0).standard_normal((10, 30))
    found = statistics_of_rows(rows, Ruler(math.sqrt(30), 0, shrunk=True))
    assert found is not None
    expected = ss.semantic_scale(torch.from_numpy(rows), estimator="shrunk")
    assert found.shrunk_bits == pytest.approx(float(expected), rel=1e-9)
