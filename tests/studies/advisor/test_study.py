"""The study of the advisor: its statistics against hand-made outcomes, and a small run from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.advisor import study as advisor
from semscale_pl.studies.advisor.simulation import POLICIES, Reveal
from semscale_pl.studies.advisor.study import accuracy_of, draw, policies, prediction, run

SETTINGS: dict[str, Any] = {
    "dataset": "made", "side": 3, "seeds": [0, 1], "most": 20, "least": 6, "batch": 4, "budget": 40,
    "stop_classes": 2, "stop_batch": 10, "thresholds": [0.05],
}  # fmt: skip


def made(_dataset: str, split: str, side: int) -> LoadedFeatures:
    generator = torch.Generator().manual_seed(len(split))
    labels = torch.arange(3).repeat(80)
    centres = 2.0 * torch.eye(3, side * side)
    return LoadedFeatures(torch.randn(240, side * side, generator=generator) + centres[labels], labels, ("a", "b", "c"))


def test_runs_from_end_to_end_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisor, "load_pixels", made)
    lines: list[str] = []
    result = strict(run({"datasets": [SETTINGS]}, tmp_path, 1, lines.append))
    (entry,) = result["datasets"]
    assert [row["policy"] for row in entry["policies"]] == ["start", *POLICIES]
    assert all(row["scale"]["mean"] > entry["policies"][0]["scale"]["mean"] for row in entry["policies"][1:])
    assert entry["prediction"]["advisor"]["batches"] <= 20
    assert [stop["rule"] for stop in entry["stops"]] == ["as they come", "averaged", "predicted"]
    assert len(lines) == 4
    assert as_pixels(draw(result)).std() > 0


def test_predictions_are_summed_up() -> None:
    reveals = [
        [Reveal(9, 2.0 * x, 3.0 * x, x) for x in (1.0, 2.0, 4.0)],
        [Reveal(9, 4.0 * x, x, x) for x in (1.0, 3.0, 2.0)],
    ]
    found = prediction(reveals)
    assert found["predicted"]["ratio"]["mean"] == pytest.approx(3.0)
    assert found["predicted"]["error"]["mean"] == pytest.approx(2.0)
    assert found["predicted"]["correlation"]["mean"] == pytest.approx(1.0)
    assert found["naive"]["error"]["mean"] == pytest.approx(1.0)
    assert found["batches"] == 6


def test_differences_are_the_advisors_less_the_rivals() -> None:
    names = ["start", *POLICIES]
    outcomes = [
        {
            "accuracy": {name: float(place + seed) for place, name in enumerate(names)},
            "scale": dict.fromkeys(names, 1.0),
            "least": dict.fromkeys(names, 5 - seed),
        }
        for seed in range(3)
    ]
    found = {row["policy"]: row for row in policies(outcomes)}
    assert "advisor_less_this" not in found["start"]
    assert "advisor_less_this" not in found["advisor"]
    assert found["starved"]["advisor_less_this"]["mean"] == pytest.approx(-2.0)
    assert found["starved"]["accuracy"]["mean"] == pytest.approx(4.0)
    assert found["starved"]["least"] == 3


def test_accuracy_is_per_cent_of_balanced_accuracy() -> None:
    train, test = made("", "train", 3), made("", "test", 3)
    far = 10.0 * torch.eye(3, 9)[train.labels]
    assert (
        accuracy_of(
            train.features + far, train.labels, LoadedFeatures(test.features + far, test.labels, test.class_names)
        )
        > 99
    )


def test_budgets_are_whole_batches(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole number of batches of 4, but got 41"):
        run({"datasets": [{**SETTINGS, "budget": 41}]}, tmp_path, 1, lambda line: None)
