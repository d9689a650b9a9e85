"""The studies of the count: their arithmetic, their tables against the published ones, and their figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semscale_pl.config.composing import experiments_dir
from semscale_pl.figures.style import as_pixels
from semscale_pl.studies import count_control, count_estimators, interval_coverage
from semscale_pl.studies.description import find_study, load_study
from semscale_pl.studies.known_volumes import populations
from semscale_pl.studies.running import run_study

DOCS = experiments_dir().parent / "docs" / "count_control.md"
STUDIES = {"count_estimators": count_estimators, "interval_coverage": interval_coverage, "count_control": count_control}


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_of_the_page_are_those_of_the_published_results(name: str) -> None:
    published = experiments_dir() / "results" / name / "result.json"
    if not DOCS.is_file() or not published.is_file():
        pytest.skip("an installed package has no docs beside it")
    result = json.loads(published.read_text())["result"]
    assert STUDIES[name].markdown(result) in DOCS.read_text()


@pytest.mark.parametrize("name", ["count_estimators", "interval_coverage"])
def test_a_small_study_runs_from_its_file(name: str, tmp_path: Path) -> None:
    changes = ["repeats=4"] if name == "count_estimators" else ["repeats=5", "sizes=6,12", "dims=8"]
    folder = run_study(load_study(find_study(name), "quick", changes), tmp_path, 1, quiet)
    record = json.loads((folder / "result.json").read_text())
    assert record["name"] == f"{name}-quick"
    assert (folder / "figure.png").stat().st_size > 5000
    assert STUDIES[name].markdown(record["result"]).count("\n") >= 3


def test_estimates_of_a_known_population() -> None:
    arguments = {"dim": 16, "sizes": [10, 200], "repeats": 10, "seed": 0, "populations": ["sphere"]}
    result = count_estimators.run(arguments, Path(), 1, quiet)
    entry = result["populations"]["sphere"]
    assert entry["bits"] == pytest.approx(8.0)
    small, large = ({name: cells[place]["mean"] for name, cells in entry["estimators"].items()} for place in (0, 1))
    assert small["plain"] < 6.0 < 7.5 < large["plain"] < 8.0
    assert small["matched"] == pytest.approx(small["plain"])
    assert large["matched"] == pytest.approx(small["plain"], abs=0.4)
    for name in ("oas", "ledoit_wolf", "extrapolated"):
        assert abs(small[name] - 8.0) < abs(small["plain"] - 8.0)
    assert "| sphere (8.0) | S' plain | -" in count_estimators.markdown(result)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"sizes": [20, 10]}, "ascending `sizes`"), ({"populations": ["cube"]}, "`populations` to be among")],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"dim": 8, "sizes": [10], "repeats": 2, "seed": 0, "populations": None, **changes}
    with pytest.raises(ValueError, match=message):
        count_estimators.run(arguments, Path(), 1, quiet)


def test_coverage_counts_intervals() -> None:
    found = interval_coverage.coverage(populations(8)["isotropic"], 20, 60, 0)
    assert found["jackknife"] > 0.85
    assert found["subsample"] > 0.85
    assert found["bootstrap"] < 0.8
    assert 0.5 < found["width"] < 10.0


def features_by_count(counts: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """All classes are of one distribution: only the count differs."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return populations(64)["power law"].sample(len(labels), seed), labels


def test_controlling_the_count_takes_away_a_correlation_that_was_the_count() -> None:
    counts = [300, 210, 150, 105, 75, 50, 35, 25, 18, 12]
    seeds = []
    for seed in range(3):
        columns = count_control.quantities(*features_by_count(counts, seed), 10, seed=seed)
        assert set(columns) == set(count_control.QUANTITIES)
        noise = np.random.default_rng(seed).normal(0.0, 0.05, 10)
        seeds.append({"seed": seed, "accuracy": (np.log(counts) / 6 + noise).tolist(), **columns})
    found = count_control.correlations(seeds)
    assert found["S'"]["spearman"]["mean"] > 0.9
    assert found["S'"]["with_n"]["mean"] > 0.95
    for name in ("S' matched", "S' extrapolated"):
        assert abs(found[name]["spearman"]["mean"]) < 0.6
    assert found["n"]["partial_spearman"] is None
    assert found["S'"]["classes"] == [10, 10, 10]
    wide = count_control.correlations_over_classes(seeds)
    for name in count_control.QUANTITIES:
        assert wide[name]["classes"] == found[name]["classes"]
        for key in ("pearson", "spearman", "partial_pearson", "partial_spearman", "with_n"):
            narrow, other = found[name][key], wide[name][key]
            assert (narrow is None) == (other is None)
            if narrow is not None:
                assert other["mean"] == pytest.approx(narrow["mean"], abs=0.02), (name, key)
                assert -1 <= narrow["low"] <= narrow["high"] <= 1
                assert other["low"] is None or -1 <= other["low"] <= other["mean"] <= other["high"] <= 1
    assert wide["S'"]["pearson"]["high"] - wide["S'"]["pearson"]["low"] > 0.02


def test_few_images_leave_gaps_that_are_counted() -> None:
    columns = count_control.quantities(*features_by_count([40, 12, 5]), 3)
    assert math.isnan(columns["S' extrapolated"][2])
    assert math.isnan(columns[count_control.SAME_CLASSES][2])
    assert not math.isnan(columns["S'"][2])


def test_figures_are_drawn_from_plain_data_with_gaps() -> None:
    interval = {"mean": 0.5, "half_width": 0.2, "low": 0.3, "high": 0.7, "n": 3}
    entry = dict.fromkeys(("pearson", "spearman", "partial_pearson", "with_n"), interval)
    entry |= {"partial_spearman": None, "classes": [10]}
    names = list(count_control.QUANTITIES)
    result = {"quantities": names, "datasets": {"A": {"seeds": [{}], "correlations": dict.fromkeys(names, entry)}}}
    assert as_pixels(count_control.draw(result)).std() > 5
    assert "+0.50 [+0.30, +0.70]" in count_control.markdown(result)
    cells = [{"mean": 3.0, "deviation": 1.0, "known": 2}, {"mean": None, "deviation": None, "known": 0}]
    entry = {"bits": 4.0, "estimators": dict.fromkeys(count_estimators.TITLES, cells)}
    result = {"sizes": [5, 50], "repeats": 3, "populations": {"one": entry, "two": entry}}
    assert as_pixels(count_estimators.draw(result)).std() > 5
    assert "| -25* | – | – |" in count_estimators.markdown(result)
    cell = {"population": "one", "dim": 8, "size": 5, "jackknife": 0.9, "subsample": 0.8, "bootstrap": 0.1}
    result = {"repeats": 3, "cells": [cell, {**cell, "size": 10}]}
    assert as_pixels(interval_coverage.draw(result)).std() > 5
    assert interval_coverage.markdown(result).endswith("| one | 8 | 90 / 80 / 10 | 90 / 80 / 10 |")


@pytest.mark.slow
def test_the_quick_study_trains_and_measures(tmp_path: Path) -> None:
    folder = run_study(load_study(find_study("count_control"), "quick"), tmp_path, 1, quiet)
    result = json.loads((folder / "result.json").read_text())["result"]
    (entry,) = result["datasets"].values()
    assert [len(seed["accuracy"]) for seed in entry["seeds"]] == [10, 10]
    assert entry["correlations"]["n"]["with_n"]["mean"] == pytest.approx(1.0)
