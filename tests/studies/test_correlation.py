"""The study of correlations on the published digits, its picture and its refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.geometry import class_centres, interclass_weights, semantic_scale_imbalance, semantic_scales
from semscale_pl.studies.correlation import (
    accuracy_correlations,
    class_quantities,
    compare_quantities,
    draw,
    mean_correlation,
    read_cells,
    run,
    summarise,
    summarise_over_classes,
)


def test_reads_published_trainings_and_agrees_with_their_own_records() -> None:
    arguments = {"results": ["digits_study"], "rows": ["CE"], "alphas": [1.0, 2.0]}
    result = strict(run(arguments, Path("unused"), 1, lambda line: None))
    (group,) = result["groups"]
    assert (group["table"], group["row"], group["dataset"], group["backbone"]) == (
        "digits_study",
        "CE",
        "digits_lt",
        "SmallCNN",
    )
    assert len(group["seeds"]) == 10
    records = [cell["record"] for cell in read_cells("digits_study") if cell["row"] == "CE"]
    for name in ("n", "S'", "W", "S"):
        values = [record["correlations"]["last"][name]["spearman"]["value"] for record in records]
        assert min(values) - 1e-4 <= group["quantities"][name]["spearman"]["mean"] <= max(values) + 1e-4
    assert as_pixels(draw(result)).std() > 0


def test_intervals_that_cover_classes_are_wider_and_say_so(tmp_path: Path) -> None:
    arguments = {"results": ["digits_study"], "rows": ["CE"], "alphas": [1.0]}
    seeds, both = (strict(run({**arguments, "resample": one}, tmp_path, 1, print)) for one in ("trainings", "both"))
    assert seeds["covers"].startswith("Intervals cover trainings")
    assert both["covers"].startswith("Intervals cover classes and trainings")
    assert "over_classes" not in seeds["groups"][0]
    (group,) = both["groups"]
    assert group["quantities"] == seeds["groups"][0]["quantities"]
    for name in ("S'", "log n", "S"):
        wide, narrow = group["over_classes"]["quantities"][name]["pearson"], group["quantities"][name]["pearson"]
        assert wide["mean"] == pytest.approx(narrow["mean"], abs=1e-3)
        assert -1 <= wide["low"] < narrow["low"] < narrow["high"] < wide["high"] <= 1
        assert (wide["n"], wide["num_classes"]) == (10, 10)
    for contrast, other in zip(group["over_classes"]["contrasts"], group["contrasts"], strict=True):
        assert contrast["pearson"]["mean"] == pytest.approx(other["pearson"]["mean"], abs=1e-6)
        assert contrast["pearson"]["low"] < contrast["pearson"]["mean"] < contrast["pearson"]["high"]
    assert as_pixels(draw(both)).std() > 0
    with pytest.raises(ValueError, match="`resample` to be one of trainings, both"):
        run({**arguments, "resample": "classes"}, tmp_path, 1, print)


def test_classes_without_a_value_are_not_counted() -> None:
    records = [record(seed) for seed in range(3)]
    for one in records:
        one["scales"]["S'"][2] = None
    found = summarise_over_classes(records, [1.0])["quantities"]
    assert (found["S'"]["pearson"]["num_classes"], found["n"]["pearson"]["num_classes"]) == (4, 5)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="semscale table"):
        read_cells("no_such_table")
    (tmp_path / "cells.json").write_text("[")
    with pytest.raises(ValueError, match="cells"):
        read_cells(str(tmp_path))
    with pytest.raises(ValueError, match="Rows:"):
        run({"results": ["digits_study"], "rows": ["none"], "alphas": [1.0]}, tmp_path, 1, lambda line: None)


# Correlations of one record against scipy, and their averages against Fisher's transformation.
def record(seed: int, counts: tuple[int, ...] = (40, 20, 10, 5, 3)) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    features = torch.randn(len(labels), 4, generator=generator) + labels[:, None]
    scales = semantic_scales(features, labels, 5)
    centres = class_centres(features, labels, 5)
    accuracy = (scales / 10 + 0.1 * torch.rand(5, generator=generator, dtype=torch.float64)).tolist()
    return {
        "seed": seed,
        "num_classes": 5,
        "class_counts": list(counts),
        "scales": {"S'": scales.tolist(), "W": interclass_weights(centres).tolist()},
        "effective_numbers": {"E_n": [(1 - 0.99**n) / 0.01 for n in counts]},
        "results": {"last": {"per_class": {"accuracy": accuracy}}},
        "config": {"dataset": {"name": "toy"}, "backbone": {"_target_": "package.Net"}},
        "centres": centres,
    }


def test_s_of_any_alpha_follows_from_the_record() -> None:
    one = record(0)
    found = class_quantities(one, [1.0, 3.0])
    scales = torch.tensor(one["scales"]["S'"], dtype=torch.float64)
    for alpha, name in ((1.0, "S"), (3.0, "S, alpha=3")):
        expected = semantic_scale_imbalance(scales, interclass_weights(one["centres"], alpha))
        assert found[name] == pytest.approx(expected.tolist())
    assert found["log n"] == pytest.approx(np.log(found["n"]))
    with pytest.raises(ValueError, match="alphas"):
        class_quantities(one, [0.5])


def test_correlations_are_scipys_and_e_n_ranks_like_n() -> None:
    one = record(1)
    found, accuracy = accuracy_correlations(one), one["results"]["last"]["per_class"]["accuracy"]
    for name, values in class_quantities(one).items():
        assert found[name]["pearson"] == pytest.approx(stats.pearsonr(values, accuracy).statistic)
        assert found[name]["spearman"] == pytest.approx(stats.spearmanr(values, accuracy).statistic)
    assert found["E_n"]["spearman"] == found["n"]["spearman"] == found["log n"]["spearman"]


def test_undefined_values_are_left_out_and_balanced_counts_say_nothing() -> None:
    one = record(2, (9, 9, 9, 9, 9))
    one["scales"]["S'"][3] = None
    found = accuracy_correlations(one)
    assert found["n"] == {"pearson": None, "spearman": None}
    kept = [0, 1, 2, 4]
    accuracy = np.array(one["results"]["last"]["per_class"]["accuracy"])[kept]
    expected = stats.pearsonr(np.array([one["scales"]["S'"][place] for place in kept]), accuracy).statistic
    assert found["S'"]["pearson"] == pytest.approx(expected)
    one["scales"]["S'"] = [None] * 5
    assert accuracy_correlations(one)["S"]["pearson"] is None


def test_mean_is_taken_after_fishers_transformation() -> None:
    values = [0.2, 0.5, 0.9]
    found = mean_correlation([*values, None])
    z = np.arctanh(values)
    reach = stats.t.ppf(0.975, 2) * z.std(ddof=1) / math.sqrt(3)
    assert found["n"] == 3
    assert [found["mean"], found["low"], found["high"]] == pytest.approx(
        [np.tanh(z.mean()), np.tanh(z.mean() - reach), np.tanh(z.mean() + reach)]
    )
    assert mean_correlation([None]) == {"mean": None, "low": None, "high": None, "n": 0}
    assert mean_correlation([1.0])["mean"] == 1.0


def test_a_perfect_order_widens_no_interval_to_infinity() -> None:
    values = [1.0, 1.0, 0.96]
    found = mean_correlation(values)
    reach = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx(
        [np.mean(values), np.mean(values) - reach, 1.0]
    )
    assert mean_correlation([-1.0, -1.0]) == {"mean": -1.0, "low": -1.0, "high": -1.0, "n": 2}


def test_contrasts_are_paired_by_training() -> None:
    trainings = [accuracy_correlations(record(seed)) for seed in range(4)]
    found = summarise(trainings, [("S'", "n")])
    differences = [one["S'"]["pearson"] - one["n"]["pearson"] for one in trainings]
    contrast = found["contrasts"][0]["pearson"]
    assert contrast["mean"] == pytest.approx(np.mean(differences))
    expected = stats.ttest_rel([one["S'"]["pearson"] for one in trainings], [one["n"]["pearson"] for one in trainings])
    assert contrast["p_value"] == pytest.approx(expected.pvalue)
    assert found["quantities"]["S'"]["spearman"]["n"] == 4
    assert compare_quantities([{"a": {"pearson": None}, "b": {"pearson": 1.0}}], "a", "b", "pearson") is None
