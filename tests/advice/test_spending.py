"""Spending a budget greedily is the best way for concave curves, and stops where nothing is worth a batch."""

from __future__ import annotations

import math
from itertools import product

import pytest

from semscale_pl.advice.advice import spend
from semscale_pl.advice.growth import Growth

CURVES = [Growth(30.0, 14.0, 1.0), Growth(140.0, 40.0, 0.9), Growth(50.0, 100.0, 0.5)]
COUNTS = [10, 60, 25]


def totals(grants: list[int], logarithm: bool) -> float:
    bits = [curve.bits(count + grant) for curve, count, grant in zip(CURVES, COUNTS, grants, strict=True)]
    return sum(math.log(value) if logarithm else value for value in bits)


def test_no_other_split_has_more_bits() -> None:
    best = max(
        (totals([10 * part for part in parts], False), parts)
        for parts in product(range(7), repeat=3)
        if sum(parts) == 6
    )
    found = spend(CURVES, COUNTS, 60, 10, gain="absolute")
    assert found.grants == [10 * part for part in best[1]]
    assert found.unspent == 0


def test_relative_gains_favour_the_narrow_class() -> None:
    found = spend(CURVES, COUNTS, 60, 10, gain="relative")
    assert sum(found.grants) == 60
    assert found.grants[0] > spend(CURVES, COUNTS, 60, 10, gain="absolute").grants[0]
    best = max(totals([10 * part for part in parts], True) for parts in product(range(7), repeat=3) if sum(parts) == 6)
    assert totals(found.grants, True) == pytest.approx(best, rel=0.01)


def test_a_threshold_leaves_what_no_class_is_worth() -> None:
    found = spend(CURVES, COUNTS, 10_000, 10, threshold=0.05)
    assert found.unspent > 0
    assert sum(found.grants) + found.unspent == 10_000
    for curve, count, grant in zip(CURVES, COUNTS, found.grants, strict=True):
        assert curve.gain(count + grant, 10) < 0.05
        assert not grant or curve.gain(count + grant - 10, 10) >= 0.05


def test_classes_without_a_curve_come_first_fewest_samples_first() -> None:
    assert spend([None, CURVES[0], None], [3, 10, 2], 10, 10).grants == [0, 0, 10]
    assert spend([None, CURVES[0], None], [3, 10, 2], 40, 10).grants == [10, 20, 10]
    assert spend([None, None], [3, 2], 40, 10) == ([10, 10], 20)


def test_a_remainder_is_no_batch() -> None:
    assert spend(CURVES, COUNTS, 19, 10).unspent == 9
    assert spend(CURVES, COUNTS, 0, 10) == ([0, 0, 0], 0)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="`batch` above 0 and `budget` of at least 0, but got 0 and 5"):
        spend(CURVES, COUNTS, 5, 0)
    with pytest.raises(ValueError, match="`budget` of at least 0"):
        spend(CURVES, COUNTS, -5, 1)
    with pytest.raises(ValueError, match="one count a curve"):
        spend(CURVES, [1], 5, 1)
    with pytest.raises(ValueError, match="Expected `gain` to be one of"):
        spend(CURVES, COUNTS, 5, 1, gain="most")
