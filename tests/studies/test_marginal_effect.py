"""The study of the marginal effect: its table, its comparison, and two sizes of digits trained for real."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.description import find_study, load_study
from semscale_pl.studies.marginal_effect import compare, draw, run, sum_of_scales, table_of
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
