"""The study of the marginal effect: its table, its comparison, and two sizes of digits trained for real."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.description import find_study, load_study
from semscale_pl.studies.marginal_effect import (
    compare,
    draw,
    effective_number_curve,
    geometric_sizes,
    relative,
    run,
    saturation,
    saturation_point,
    saturation_ratio,
    sum_of_scales,
    table_of,
)
from semscale_pl.tables import cache
from semscale_pl.tables.schema import parse_table


@pytest.fixture
def arguments() -> dict[str, Any]:
    return dict(load_study(find_study("marginal_effect")).arguments)


def overrides_of(row: dict[str, Any]) -> dict[str, str]:
    return dict(entry.split("=") for entry in row["overrides"])


def test_every_size_gets_about_as_many_steps_and_the_same_fall_of_the_rate(arguments: dict[str, Any]) -> None:
    rows = table_of(arguments, [2, 63, 2000])["rows"]
    small, medium, large = (overrides_of(row) for row in rows)
    assert int(small["trainer.max_epochs"]) == arguments["most_epochs"]
    assert int(large["trainer.max_epochs"]) == arguments["least_epochs"]
    assert [row["dataset.drop_last"] for row in (small, medium, large)] == ["false", "true", "true"]
    steps = 630 // 64 * int(medium["trainer.max_epochs"])
    assert arguments["steps"] <= steps < arguments["steps"] + 10
    for row in (small, medium, large):
        fall = float(row["scheduler.gamma"]) ** int(row["trainer.max_epochs"])
        assert fall == pytest.approx(arguments["decay"], rel=1e-3)


@pytest.mark.parametrize("profile", ["mnist", "cifar100", "paper"])
def test_every_profile_composes(profile: str, tmp_path: Path) -> None:
    arguments = load_study(find_study("marginal_effect"), profile).arguments
    content = table_of(arguments, [arguments["smallest"], arguments["largest"]])
    table = parse_table({**content, "measures": [{"name": "accuracy", "key": "results.last.top1"}]})
    assert len(cache.locate(table, table.cells(), tmp_path)) == 2 * len(arguments["seeds"])


def test_comparison_of_curves_that_agree_perfectly() -> None:
    curves = [[1.0, 2.0, 3.0, 3.1], [1.1, 2.1, 3.0, 3.2]]
    found = compare([1, 10, 100, 1000], curves, curves, [0.99], 0.95)
    assert found["agreement"]["sum of S'"]["pearson"]["value"] == pytest.approx(1.0)
    assert found["agreement"]["n"]["spearman"]["value"] < 1.0
    assert found["saturation_ratio"]["ratio"] == pytest.approx(1.0)
    assert found["effective_numbers"]["beta=0.99"]["relative"][-1] == 1.0


def test_an_undefined_scale_leaves_the_sum_undefined() -> None:
    assert math.isnan(sum_of_scales({"scales": {"S'": [1.0, None]}}))


def test_trains_digits_and_draws(arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments |= {"dataset": "digits", "smallest": 2, "largest": 20, "number": 2, "seeds": [0], "steps": 4}
    result = strict(run({**arguments, "most_epochs": 4, "least_epochs": 1}, tmp_path, 1, lambda line: None))
    assert result["sizes"] == [2, 20]
    (scales,), (accuracy,) = result["scales"], result["accuracy"]
    assert 0 < scales[0] < scales[1]
    assert all(0 <= value <= 1 for value in accuracy)
    assert [cell["row"] for cell in result["cells"]] == ["2", "20"]
    assert as_pixels(draw(result)).std() > 0


# Sizes, saturation points and their intervals against closed forms.
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
