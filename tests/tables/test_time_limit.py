"""A limit of time: what begins, what stops between two epochs, and that a stopped cell ends as an unbroken one."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from semscale_pl.config.composing import config_dir
from semscale_pl.tables import stopping
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.cell_training import CHECKPOINT, Failure, Outcome, Task, train_cell
from semscale_pl.tables.engine import how_far, run_table
from semscale_pl.tables.progress import TableProgress
from semscale_pl.tables.schema import TRAIN, Cell, parse_table
from semscale_pl.tables.time_limit import Pace, TimeLimit, expected_pace, read_pace, write_pace


def run_in(folder: Path, column: str = "") -> CellRun:
    return CellRun(Cell("A", column, 0, ()), folder)


def test_a_cell_begins_only_if_an_epoch_fits() -> None:
    limit = TimeLimit(1.0, time.monotonic())
    assert limit.allows(Pace(start=20.0, epoch=30.0))
    assert not limit.allows(Pace(start=20.0, epoch=34.0))
    assert not TimeLimit(1.0, time.monotonic() - 60.0).allows(Pace())


def test_most_of_a_long_limit_is_for_the_cells() -> None:
    assert TimeLimit(9, 0.0).stop_at == 530.0
    assert TimeLimit(0.1, 0.0).stop_at == pytest.approx(5.7)


def test_the_last_epoch_needs_what_follows_it_as_well() -> None:
    pace = Pace(epoch=10.0, end=5.0)
    assert pace.seconds_to_next() == pytest.approx(11.0)
    assert pace.seconds_to_next(is_last=True) == pytest.approx(16.5)


def test_the_pace_of_an_unknown_cell_is_the_slowest_of_its_column(tmp_path: Path) -> None:
    runs = [run_in(tmp_path / name, column) for name, column in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x"))]
    assert expected_pace(runs[3], runs) == Pace()
    for run, epoch, start in zip(runs, (1.0, 2.0, 9.0), (30.0, 3.0, 4.0), strict=False):
        write_pace(run.folder, Pace(start, epoch, 0.5, 3, 8))
    assert expected_pace(runs[3], runs) == Pace(3.0, 2.0, 0.5)
    assert expected_pace(run_in(tmp_path / "e", "z"), runs).epoch == 9.0
    assert expected_pace(runs[0], runs) == Pace(3.0, 1.0, 0.5, 3, 8)
    (tmp_path / "a" / "pace.json").write_text('{"speed": 1}')
    assert read_pace(tmp_path / "a") is None


def test_no_cell_begins_after_the_limit_and_the_next_call_goes_on(content: dict[str, Any], tmp_path: Path) -> None:
    content["rows"] = [{"name": "A", "overrides": ["behaviour=slow"]}]
    content["seeds"] = [0, 1, 2]
    table = parse_table(content)
    # The first cell of a call always begins, here after the limit.
    first = run_table(table, tmp_path, jobs=1, limit=TimeLimit(0.01, time.monotonic() - 60.0))
    assert (first.num_trained, set(first.unfinished.values())) == (1, {"not begun"})
    assert list(first.unfinished) == ["A · seed 1", "A · seed 2"]
    again = run_table(table, tmp_path, jobs=1)
    assert (again.num_trained, dict(again.unfinished)) == (2, {})


def test_a_table_can_be_computed_without_training(content: dict[str, Any], tmp_path: Path) -> None:
    result = run_table(parse_table(content), tmp_path, train=False)
    assert (result.num_trained, len(result.unfinished), dict(result.failures)) == (0, 4, {})


def cell_task(folder: Path, stop_at: float | None = None) -> Task:
    overrides = ("dataset=digits_lt", "reweighting=semantic_scale", "reweighting.start_epoch=1", "trainer.max_epochs=3")
    return Task((*overrides, "imbalance_factor=50"), str(folder), str(config_dir()), "train", TRAIN, stop_at)


def test_a_cell_stops_after_an_epoch_and_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    clock = itertools.count()
    # A second passes with each look at the clock, of which an epoch takes two.
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    assert train_cell(cell_task(broken, stop_at=4.5)) == Failure(
        "stopped in time after epoch 1 of 3, about 6 s left of it", unfinished=True
    )
    assert not (broken / "metrics.json").exists()
    assert (broken / CHECKPOINT).is_file()
    assert how_far(run_in(broken)) == "after epoch 1 of 3"
    assert train_cell(cell_task(broken, stop_at=1e9)) is None
    assert train_cell(cell_task(whole)) is None
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (broken, whole))
    assert found["results"] == expected["results"]
    assert (found["completed_epochs"], found["interrupted"]) == (3, False)
    assert (broken / "scales.csv").read_text() == (whole / "scales.csv").read_text()
    pace = read_pace(broken)
    assert pace is not None
    assert (pace.completed, pace.epochs, pace.epoch) == (3, 3, 2.0)


def test_a_damaged_checkpoint_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut short")
    assert train_cell(cell_task(tmp_path)) is None


def test_cells_that_stopped_give_an_estimate_of_all(
    content: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pace(tmp_path, Pace(1.0, 4.0, 8.0, completed=126, epochs=200))
    run = SimpleNamespace(cell=SimpleNamespace(label="CE"), folder=tmp_path)
    progress = TableProgress(total=5, missing=5, jobs=2)
    progress.advance(Outcome(run, 504.0, Failure("stopped in time", unfinished=True)))  # type: ignore[arg-type]
    # Four whole cells of 808 s and 304 s of this one, two at a time.
    assert "[1/5] CE: stopped in time; about 29 min 28 s left" in capsys.readouterr().err
