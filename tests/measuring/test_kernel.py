"""The numbers of a class: right to a relative 1e-6, whatever its spread, offset and rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import semscale_pl as ss
from semscale_pl.measuring import kernel
from semscale_pl.measuring.kernel import ClassSettings, bits_of_gram, centre_of, scatter_of, statistics_of_rows


def reference(rows: np.ndarray, scale_factor: float) -> float:
    values = np.linalg.svd(rows.astype(np.longdouble).astype(np.float64) - rows.astype(np.float64).mean(0))[1]
    return float(np.log1p((values * scale_factor) ** 2 / len(rows)).sum() / 2 / math.log(2))


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
def test_the_volume_is_that_of_the_singular_values(
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
    found = statistics_of_rows(rows, ClassSettings(8.0, 0))
    assert found is not None
    assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("count", "offset"), [(2880, 1e4), (200, 0.0), (210, 0.0)])
def test_small_directions_beside_large_ones_are_seen(count: int, offset: float) -> None:
    # Nearly as many directions as samples, or a spread next to the rounding of the offset.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((count, 96 if offset else 200)) * 10 ** -np.linspace(0, 3, 96 if offset else 200)
        rows = (np.maximum(rows, 0.0) + offset).astype(np.float32)
        scale_factor = math.sqrt(rows.shape[1])
        found = statistics_of_rows(rows, ClassSettings(scale_factor, 0))
        assert found is not None
        assert found.bits == pytest.approx(reference(rows, scale_factor), rel=1e-6)


def test_equal_features_are_seen() -> None:
    rng = np.random.default_rng(0)
    for count in (64, 200):
        for first, second in ((12, 15), (0, 63), (5, 6), (30, 40)):
            rows = (rng.standard_normal((count, 64)) * 1e3).astype(np.float32)
            rows[:, second] = rows[:, first]
            found = statistics_of_rows(rows, ClassSettings(8.0, 0))
            assert found is not None
            assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6)


def test_a_factor_with_too_few_digits_is_not_taken() -> None:
    easy = np.random.default_rng(0).standard_normal((200, 64))
    hard = easy * 1e8 @ np.outer(np.ones(64), np.ones(64)) + easy * 1e-3
    for rows, holds in ((easy, True), (hard, False)):
        scatter = scatter_of(rows, centre_of(rows))
        assert bits_of_gram(scatter * (64 / 200), 200, 64)[1] is holds
        found = statistics_of_rows(rows, ClassSettings(8.0, 0))
        assert found is not None
        assert found.bits == pytest.approx(reference(rows, 8.0), rel=1e-6)


def test_next_to_nothing_and_huge_matrices_are_left_to_the_careful_way() -> None:
    assert kernel._bits_of_pivots(np.eye(3) * 1e-9) is None
    assert kernel._bits_of_pivots(np.full((3, 3), 1e300)) is None
    assert kernel._bits_of_pivots(np.array([[1.0, 9.0], [9.0, 1.0]])) is None
    bits, _ = bits_of_gram(np.eye(3) * 1e-9, 10, 3)
    assert bits == pytest.approx(0.5 * 3 * 1e-9 / math.log(2), rel=1e-6)


def test_a_matrix_keeps_its_numbers() -> None:
    gram = np.eye(5) + 0.5
    before = gram.copy()
    assert bits_of_gram(gram, 10, 5)[0] == pytest.approx(np.linalg.slogdet(np.eye(5) + before)[1] / 2 / math.log(2))
    np.testing.assert_array_equal(gram, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e3, 1e6])
@pytest.mark.parametrize("count", [64, 5000, 20_000])
def test_mean_and_scatter_are_those_of_float64(count: int, offset: float, dtype: type) -> None:
    rng = np.random.default_rng(count)
    rows = (rng.standard_normal((count, 64)) * np.linspace(2.0, 0.5, 64) + offset).astype(dtype)
    centre = centre_of(rows)
    wide = rows.astype(np.float64) - rows[0]
    expected = rows[0].astype(np.float64) + wide.mean(0)
    centred = wide - wide.mean(0)
    reference = centred.T @ centred
    np.testing.assert_allclose(centre.mean, expected, rtol=1e-14, atol=1e-12)
    size = np.sqrt(np.outer(reference.diagonal(), reference.diagonal()))
    assert (np.abs(scatter_of(rows, centre) - reference) / size).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_feature_has_no_spread_at_all(dtype: type) -> None:
    rows = np.random.default_rng(0).standard_normal((777, 64)).astype(dtype)
    rows[:, 5], rows[:, 6] = 0.1, -12345.678
    scatter = scatter_of(rows, centre_of(rows))
    assert not scatter[5:7].any()
    assert scatter.diagonal()[:5].all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e120])
def test_what_cannot_be_squared_has_no_numbers(value: float) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 64))
    rows[3, 4] = value
    assert statistics_of_rows(rows, ClassSettings(8.0)) is None


def test_oas_equals_the_function_of_the_tensors() -> None:
    rows = np.random.default_rng(0).standard_normal((10, 30))
    found = statistics_of_rows(rows, ClassSettings(math.sqrt(30), 0, shrunk=True))
    assert found is not None
    expected = ss.semantic_scale(torch.from_numpy(rows), estimator="shrunk")
    assert found.shrunk_bits == pytest.approx(float(expected), rel=1e-9)
