"""The study of drift: averages against the files written out, a real training, and the picture."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.drift import draw, read_drift, run, summary
from semscale_pl.studies.running import Training

HEADER = "epoch,learning_rate,mean,median,p90,to_norm,scale_change\n"


def cell(folder: Path, seed: int, values: list[float]) -> Training:
    folder.mkdir()
    rows = ["0,0.5,,,,,\n", *(f"{epoch},{0.5 / epoch},{v},{v},{v},{v},{v}\n" for epoch, v in enumerate(values, 1))]
    (folder / "drift.csv").write_text(HEADER + "".join(rows))
    return Training("cosine", seed, {"results": {"last": {"balanced_accuracy": 0.5}}}, folder)


def test_summary_of_two_seeds(tmp_path: Path) -> None:
    cells = [cell(tmp_path / "a", 0, [1.0, 0.5, 0.2]), cell(tmp_path / "b", 1, [3.0, 1.5, 0.4])]
    found = strict(summary(cells, 2))
    assert found["epochs"] == [0, 1, 2, 3]
    assert found["mean_mean"] == [None, 2.0, 1.0, pytest.approx(0.3)]
    assert found["early"]["mean"] == 2.0
    assert found["late"]["mean"] == pytest.approx((0.35 + 0.95) / 2)
    assert found["rate_and_drift"]["value"] > 0.8
    assert math.isnan(read_drift(tmp_path / "a" / "drift.csv")["mean"][0])


def test_trains_and_draws(tmp_path: Path) -> None:
    arguments = {
        "overrides": ["dataset=digits_lt", "trainer.max_epochs=3"],
        "schedules": {"cosine": ["scheduler=cosine"], "constant": ["scheduler=none"]},
        "seeds": [0],
        "start_epoch": 2,
    }
    result = strict(run(arguments, tmp_path, 1, lambda line: None))
    assert result["schedules"]["cosine"]["learning_rate"] == pytest.approx([0.05, 0.0375, 0.0125])
    assert result["schedules"]["constant"]["learning_rate"] == [0.05] * 3
    assert result["schedules"]["constant"]["mean_mean"][1] > 0
    assert result["schedules"]["constant"]["mean_low"][1] is None
    assert as_pixels(draw(result)).std() > 0
