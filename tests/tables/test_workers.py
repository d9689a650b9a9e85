from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.files import claimed
from semscale_pl.tables.cache import CellRun, locate
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.schema import Table, parse_table
from semscale_pl.tables.workers import run_cells


def runs_of(table: Table, root: Path) -> dict[str, CellRun]:
    return {run.cell.label: run for run in locate(table, table.cells(), root)}


def calls(run: CellRun) -> int:
    file = run.folder / "calls"
    return len(file.read_text()) if file.exists() else 0


def wait_for(file: Path) -> str:
    end = time.monotonic() + 20
    while not (file.exists() and file.read_text()):
        if time.monotonic() > end:
            pytest.fail(f"no {file}")
        time.sleep(0.02)
    return file.read_text()


def test_trains_in_two_processes_of_one_thread_and_only_once(table: Table, tmp_path: Path) -> None:
    result = run_table(table, tmp_path, jobs=2)
    assert (result.num_trained, dict(result.failures)) == (4, {})
    pids, threads = zip(*(((run.folder / "pid").read_text().split()) for run in result.runs), strict=True)
    assert 1 <= len(set(pids)) <= 2
    assert str(os.getpid()) not in pids
    assert set(threads) == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"]
    assert "printed by the run" in (result.runs[0].folder / "log.txt").read_text()
    assert "level: 0.5" in (result.runs[0].folder / ".hydra" / "config.yaml").read_text()
    again = run_table(table, tmp_path, jobs=2)
    assert again.num_trained == 0
    assert [calls(run) for run in again.runs] == [1, 1, 1, 1]
    assert again.summary == result.summary


def test_resume_runs_only_what_is_missing(table: Table, tmp_path: Path) -> None:
    run_table(replace(table, seeds=(0,)), tmp_path, jobs=1)
    lost = runs_of(table, tmp_path)["A · seed 0"]
    (lost.folder / "metrics.json").unlink()
    result = run_table(table, tmp_path, jobs=1)
    assert result.num_trained == 3
    assert {run.cell.label: calls(run) for run in result.runs} == {
        "A · seed 0": 2,
        "B · seed 0": 1,
        "A · seed 1": 1,
        "B · seed 1": 1,
    }


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("fail", "RuntimeError: no such luck"), ("leave", "SystemExit: 2"), ("silent", "without a readable metrics.json")],
)
def test_a_failing_row_is_reported_and_the_others_complete(
    content: dict[str, Any], tmp_path: Path, behaviour: str, error: str
) -> None:
    content["rows"][0] = {"name": "A", "overrides": [f"behaviour={behaviour}"]}
    table = parse_table(content)
    result = run_table(table, tmp_path, jobs=1)
    assert set(result.failures) == {"A · seed 0", "A · seed 1"}
    assert error in result.failures["A · seed 0"]
    assert result.num_trained == 2
    entries = {entry.row: entry for entry in result.summary.entries if entry.measure == table.focus}
    assert (entries["A"].state, entries["B"].state) == ("failed", "")
    assert entries["A"].interval is None
    assert len(entries["B"].values) == 2
    assert entries["B"].difference is None


def test_a_killed_worker_is_reported_replaced_and_its_cell_tried_again(content: dict[str, Any], tmp_path: Path) -> None:
    content["rows"][0] = {"name": "A", "overrides": ["behaviour=hang_once"]}
    content["seeds"] = [0]
    table = parse_table(content)
    runs = runs_of(table, tmp_path)

    def kill() -> None:
        os.kill(int(wait_for(runs["A · seed 0"].folder / "pid").split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run_table(table, tmp_path, jobs=1)
    killer.join()
    assert result.failures == {"A · seed 0": "the process was killed by SIGKILL"}
    assert runs["B · seed 0"].metrics() is not None
    again = run_table(table, tmp_path, jobs=1)
    assert (again.num_trained, dict(again.failures)) == (1, {})
    assert calls(runs["B · seed 0"]) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_absent_dataset_is_looked_for_once_and_the_rest_goes_on(
    content: dict[str, Any], tmp_path: Path, jobs: int
) -> None:
    content["columns"] = [
        {"name": "There", "overrides": ["+dataset={name: there}"]},
        {"name": "Nowhere", "overrides": ["+dataset={name: nowhere}", "behaviour=absent"]},
    ]
    content["seeds"] = [0, 1, 2]
    table = parse_table(content)
    result = run_table(table, tmp_path, jobs=jobs)
    assert (result.num_trained, dict(result.failures)) == (6, {})
    assert len(result.absent) == 6
    assert set(result.absent.values()) == {"Nowhere was not found. Put it there."}
    tried = sum(calls(run) for run in result.runs if run.cell.column == "Nowhere")
    assert 1 <= tried <= jobs + 1
    assert {entry.state for entry in result.summary.entries if entry.column == "Nowhere"} == {"data absent"}
    there = [e for e in result.summary.entries if (e.column, e.measure) == ("There", table.focus)]
    assert all(entry.interval is not None for entry in there)
    again = run_table(table, tmp_path, jobs=jobs)
    assert (again.num_trained, len(again.absent)) == (0, 6)


def test_leaving_early_ends_the_processes_and_keeps_finished_cells(content: dict[str, Any], tmp_path: Path) -> None:
    content["rows"][1] = {"name": "B", "overrides": ["behaviour=hang"]}
    content["seeds"] = [0]
    table = parse_table(content)
    runs = runs_of(table, tmp_path)
    before = set(multiprocessing.active_children())
    outcomes = run_cells(table, list(runs.values()), jobs=2)
    assert next(outcomes).run.cell.row == "A"
    pid = int(wait_for(runs["B · seed 0"].folder / "pid").split()[0])
    outcomes.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not set(multiprocessing.active_children()) - before
    assert runs["A · seed 0"].metrics() is not None
    assert runs["B · seed 0"].metrics() is None


def test_a_cell_that_another_process_trains_is_left_to_it(table: Table, tmp_path: Path) -> None:
    first = next(iter(runs_of(table, tmp_path).values()))
    with claimed(first.folder):
        result = run_table(table, tmp_path, jobs=1)
        assert [label for label, text in result.failures.items() if "is writing in" in text] == [first.cell.label]
        assert not (first.folder / "calls").exists()
    assert run_table(table, tmp_path, jobs=1).num_trained == 1
