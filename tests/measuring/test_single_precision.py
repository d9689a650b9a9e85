"""Products in float32: the mean in float64, and errors of the spread and not of the offset."""

from __future__ import annotations

import numpy as np
import pytest

from semscale_pl.measuring.kernel import SinglePrecision, Workspace, single_precision_scatter


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e3, 1e6])
@pytest.mark.parametrize("count", [64, 5000, 20_000])
def test_mean_and_scatter_are_those_of_float64(count: int, offset: float) -> None:
    rng = np.random.default_rng(count)
    rows = (rng.standard_normal((count, 64)) * np.linspace(2.0, 0.5, 64) + offset).astype(np.float32)
    mean, scatter = single_precision_scatter(rows, Workspace())
    wide = rows.astype(np.float64) - rows[0]
    expected = rows[0].astype(np.float64) + wide.mean(0)
    centred = wide - wide.mean(0)
    reference = centred.T @ centred
    np.testing.assert_allclose(mean, expected, rtol=1e-14, atol=1e-12)
    size = np.sqrt(np.outer(reference.diagonal(), reference.diagonal()))
    # Beside a large offset the numbers are coarse, and equal ones are rounded the same way.
    assert (np.abs(scatter - reference) / size).max() < (5e-7 if offset < 1e6 else 1e-5)


def test_a_constant_feature_has_no_spread_at_all() -> None:
    rows = np.random.default_rng(0).standard_normal((777, 64)).astype(np.float32)
    rows[:, 5], rows[:, 6] = 0.1, -12345.678
    _, scatter = single_precision_scatter(rows, Workspace())
    assert not scatter[5:7].any()
    assert scatter.diagonal()[:5].all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e30])
def test_what_float32_cannot_square_shows(value: float) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    rows[3, 4] = value
    _, scatter = single_precision_scatter(rows, Workspace())
    assert not np.isfinite(scatter.diagonal()).all()


def test_it_suits_float32_with_enough_features_and_samples() -> None:
    single = SinglePrecision()
    assert single.suits(np.zeros((64, 64), np.float32))
    assert not single.suits(np.zeros((64, 64), np.float64))
    assert not single.suits(np.zeros((63, 64), np.float32))
    assert not single.suits(np.zeros((64, 63), np.float32))
    for _ in range(8):
        single.tell(False)
    assert not single.suits(np.zeros((64, 64), np.float32))


def test_it_is_given_up_where_it_mostly_fails() -> None:
    single = SinglePrecision()
    for _ in range(8):
        assert single.pays
        single.tell(False)
    assert not single.pays
    usable = SinglePrecision()
    for held in (False, True, True) * 10:
        usable.tell(held)
    assert usable.pays
