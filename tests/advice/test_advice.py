"""The advice stops classes that gain nothing, goes on with those that do, and spends a budget on the latter."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from semscale_pl.advice.advice import advise, allocate
from semscale_pl.advice.growth import Growth
from semscale_pl.files import strict
from semscale_pl.geometry.volumes import semantic_scale

NAMES = ["many", "some", "few", "one"]
SIZES = [600, 60, 12, 1]


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES))
    order = torch.randperm(len(labels), generator=generator)
    return torch.randn(len(labels), 8, generator=generator), labels[order]


def test_full_classes_stop_and_small_ones_go_on() -> None:
    features, labels = data()
    advice = advise(features, labels, NAMES, batch=10, threshold=0.02)
    many, some, few, one = advice.classes
    assert [entry.count for entry in advice.classes] == SIZES
    assert many.stop
    assert many.certain
    assert not few.stop
    assert not one.stop
    assert math.isnan(one.increment)
    assert math.isnan(one.next_gain)
    assert many.next_gain < some.next_gain < few.next_gain
    assert many.enough is not None
    assert many.enough < 600
    assert few.scale == pytest.approx(float(semantic_scale(features[labels == 2])))
    assert sum(entry.allocation for entry in advice.classes) == advice.unspent == 0


def test_a_budget_goes_to_those_that_gain() -> None:
    features, labels = data()
    advice = advise(features, labels, NAMES, batch=10, threshold=0.02, budget=95)
    allocations = [entry.allocation for entry in advice.classes]
    assert allocations[0] == 0
    assert allocations[2] > 0
    assert allocations[3] == 10
    assert sum(allocations) + advice.unspent == 95
    assert advice.unspent >= 5


def test_the_same_seed_gives_the_same_advice_and_progress_is_told() -> None:
    features, labels = data()
    told: list[tuple[int, int]] = []
    first = advise(
        features, labels, NAMES, batch=10, threshold=0.02, seed=1, progress=lambda done, of: told.append((done, of))
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert strict(first.as_dict()) == strict(
        advise(features, labels, NAMES, batch=10, threshold=0.02, seed=1).as_dict()
    )
    assert strict(first.as_dict())["classes"][3]["increment"] is None


def test_undecided_where_the_interval_holds_the_threshold() -> None:
    features, labels = data()
    some = advise(features, labels, NAMES, batch=10, threshold=0.02).classes[1]
    again = advise(features, labels, NAMES, batch=10, threshold=(some.low + some.high) / 2).classes[1]
    assert not again.certain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "Expected `batch` to be an integer of at least 1"),
        ({"orders": 1}, "`orders` to be an integer of at least 2"),
        ({"threshold": 0.0}, "Expected `threshold` to be a share above 0"),
        ({"threshold": math.nan}, "Expected `threshold`"),
        ({"budget": -1}, "Expected `budget` to be an integer of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        advise(*data(), NAMES, **{"batch": 10, "threshold": 0.02, **settings})


def test_a_class_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="class 'none' has none"):
        advise(*data(), [*NAMES, "none"], batch=10, threshold=0.02)


# Allocating a budget greedily is the best way for concave curves, and stops where nothing is worth a batch.
CURVES = [Growth(30.0, 14.0, 1.0), Growth(140.0, 40.0, 0.9), Growth(50.0, 100.0, 0.5)]
COUNTS = [10, 60, 25]


def totals(samples: list[int], logarithm: bool) -> float:
    bits = [curve.bits(count + new) for curve, count, new in zip(CURVES, COUNTS, samples, strict=True)]
    return sum(math.log(value) if logarithm else value for value in bits)


def test_no_other_split_has_more_bits() -> None:
    best = max(
        (totals([10 * part for part in parts], False), parts)
        for parts in product(range(7), repeat=3)
        if sum(parts) == 6
    )
    found = allocate(CURVES, COUNTS, 60, 10, gain="absolute")
    assert found.samples == [10 * part for part in best[1]]
    assert found.unspent == 0


def test_relative_gains_favour_the_narrow_class() -> None:
    found = allocate(CURVES, COUNTS, 60, 10, gain="relative")
    assert sum(found.samples) == 60
    assert found.samples[0] > allocate(CURVES, COUNTS, 60, 10, gain="absolute").samples[0]
    best = max(totals([10 * part for part in parts], True) for parts in product(range(7), repeat=3) if sum(parts) == 6)
    assert totals(found.samples, True) == pytest.approx(best, rel=0.01)


def test_a_threshold_leaves_what_no_class_is_worth() -> None:
    found = allocate(CURVES, COUNTS, 10_000, 10, threshold=0.05)
    assert found.unspent > 0
    assert sum(found.samples) + found.unspent == 10_000
    for curve, count, new in zip(CURVES, COUNTS, found.samples, strict=True):
        assert curve.gain(count + new, 10) < 0.05
        assert not new or curve.gain(count + new - 10, 10) >= 0.05


def test_classes_without_a_curve_come_first_fewest_samples_first() -> None:
    assert allocate([None, CURVES[0], None], [3, 10, 2], 10, 10).samples == [0, 0, 10]
    assert allocate([None, CURVES[0], None], [3, 10, 2], 40, 10).samples == [10, 20, 10]
    assert allocate([None, None], [3, 2], 40, 10) == ([10, 10], 20)


def test_a_remainder_is_no_batch() -> None:
    assert allocate(CURVES, COUNTS, 19, 10).unspent == 9
    assert allocate(CURVES, COUNTS, 0, 10) == ([0, 0, 0], 0)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="`batch` above 0 and `budget` of at least 0, but got 0 and 5"):
        allocate(CURVES, COUNTS, 5, 0)
    with pytest.raises(ValueError, match="`budget` of at least 0"):
        allocate(CURVES, COUNTS, -5, 1)
    with pytest.raises(ValueError, match="one count a curve"):
        allocate(CURVES, [1], 5, 1)
    with pytest.raises(ValueError, match="Expected `gain` to be one of"):
        allocate(CURVES, COUNTS, 5, 1, gain="most")
