"""The advice stops classes that gain nothing, goes on with those that do, and spends a budget on the latter."""

from __future__ import annotations

import math

import pytest
import torch

from semscale_pl.advice.advice import advise
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
    assert sum(entry.grant for entry in advice.classes) == advice.unspent == 0


def test_a_budget_goes_to_those_that_gain() -> None:
    features, labels = data()
    advice = advise(features, labels, NAMES, batch=10, threshold=0.02, budget=95)
    grants = [entry.grant for entry in advice.classes]
    assert grants[0] == 0
    assert grants[2] > 0
    assert grants[3] == 10
    assert sum(grants) + advice.unspent == 95
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
