"""Sizes, saturation points and their intervals against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.studies.marginal_effect import (
    effective_number_curve,
    geometric_sizes,
    relative,
    saturation,
    saturation_point,
    saturation_ratio,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.integers(2, 9), st.integers(2, 8))
def test_sizes_have_the_ends_asked_for_and_rise(smallest: int, factor: int, number: int) -> None:
    largest = smallest * factor * 100
    sizes = geometric_sizes(smallest, largest, number)
    assert (sizes[0], sizes[-1], len(sizes)) == (smallest, largest, number)
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("smallest", "largest", "number"), [(0, 5, 2), (5, 5, 2), (1, 9, 1), (1, 3, 9)])
def test_impossible_sizes_are_refused(smallest: int, largest: int, number: int) -> None:
    with pytest.raises(ValueError, match="sizes"):
        geometric_sizes(smallest, largest, number)


def test_the_point_of_a_curve_that_is_straight_over_the_logarithm() -> None:
    sizes = [1, 10, 100, 1000]
    # 1/3 of the last value a decade: 95 % at 10^2.85, half at 10^1.5.
    assert saturation_point(sizes, [0, 1, 2, 3], 0.95) == pytest.approx(10**2.85)
    assert saturation_point(sizes, [0, 1, 2, 3], 0.5) == pytest.approx(10**1.5)
    assert saturation_point(sizes, [3, 3, 3, 3]) == 1.0
    # A dip after the first crossing counts.
    assert saturation_point(sizes, [0, 3, 2, 3], 0.95) == pytest.approx(10**2.85)
    assert saturation_point(sizes, [0, 1, math.nan, 3]) is None
    assert saturation_point(sizes, [0, 0, 0, 0]) is None
    with pytest.raises(ValueError, match="share"):
        saturation_point(sizes, [0, 1, 2, 3], 1.0)


def test_interval_over_seeds_is_students_of_the_logarithms() -> None:
    sizes = [1, 10, 100]
    curves = [[0, 1, 2], [0, 1.5, 2], [0, 0.5, 2]]
    found = saturation(sizes, curves, 0.9)
    logs = np.log([saturation_point(sizes, curve, 0.9) for curve in curves])
    reach = stats.t.ppf(0.975, 2) * logs.std(ddof=1) / math.sqrt(3)
    assert [found.point, found.low, found.high] == pytest.approx(
        [math.exp(logs.mean()), math.exp(logs.mean() - reach), math.exp(logs.mean() + reach)]
    )
    assert saturation(sizes, curves[:1]).low is None
    assert saturation(sizes, [[0, 1, 0]]).point is None


def test_ratio_of_two_points_is_paired() -> None:
    sizes = [1, 10, 100]
    curves = [[0, 1, 2], [0, 1.5, 2]]
    same = saturation_ratio(saturation(sizes, curves), saturation(sizes, curves))
    assert (same["ratio"], same["low"], same["high"], same["n"]) == (1.0, 1.0, 1.0, 2)
    none = saturation(sizes, [[0, 0, 0]])
    assert saturation_ratio(none, none) == {"ratio": None, "low": None, "high": None, "n": 0}


def test_effective_numbers_and_relative_curves() -> None:
    expected = [(1 - 0.99**n) / 0.01 for n in (1, 10, 1000)]
    assert effective_number_curve([1, 10, 1000], 0.99) == pytest.approx(expected)
    assert relative(expected)[-1] == 1.0
