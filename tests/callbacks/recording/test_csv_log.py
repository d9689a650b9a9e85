"""A resumed run goes on with its CSV log: the epochs behind it stay, half a line and the unfinished epoch go."""

from __future__ import annotations

import csv
from pathlib import Path

from semscale_pl.callbacks.recording.csv_log import ResumedCSVLogger


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _log(logger: ResumedCSVLogger, epochs: range) -> None:
    for epoch in epochs:
        logger.log_metrics({"loss": 1.0 / (epoch + 1), "epoch": epoch}, step=10 * epoch)
        logger.save()


def test_a_resumed_log_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = ResumedCSVLogger(tmp_path / "whole")
    whole.cut_back(0)
    _log(whole, range(5))
    _log(ResumedCSVLogger(tmp_path / "broken"), range(4))
    path = tmp_path / "broken" / "csv" / "metrics.csv"
    path.write_text(path.read_text() + "4,0.")
    rest = ResumedCSVLogger(tmp_path / "broken")
    rest.log_hyperparams({"a": 1})
    rest.cut_back(3)
    _log(rest, range(3, 5))
    rows = _read(path)
    assert [int(float(row["epoch"])) for row in rows] == [0, 1, 2, 3, 4]
    assert rows == _read(tmp_path / "whole" / "csv" / "metrics.csv")


def test_a_new_run_in_an_old_folder_starts_anew(tmp_path: Path) -> None:
    _log(ResumedCSVLogger(tmp_path), range(3))
    again = ResumedCSVLogger(tmp_path)
    again.cut_back(0)
    _log(again, range(1))
    assert len(_read(tmp_path / "csv" / "metrics.csv")) == 1


def test_a_run_with_nothing_left_to_train_keeps_its_log(tmp_path: Path) -> None:
    _log(ResumedCSVLogger(tmp_path), range(3))
    again = ResumedCSVLogger(tmp_path)
    again.log_hyperparams({"a": 1})
    again.finalize("success")
    assert len(_read(tmp_path / "csv" / "metrics.csv")) == 3
