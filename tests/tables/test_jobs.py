from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.tables import jobs
from semscale_pl.tables.cache import CellRun, locate
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.jobs import Cluster, check_cluster, run_jobs
from semscale_pl.tables.schema import Table, parse_table

LOCAL = Cluster("local", {"timeout": 2})


@pytest.fixture(autouse=True)
def _jobs_find_the_fake_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def runs_of(table: Table, root: Path) -> list[CellRun]:
    return locate(table, table.cells(), root)


def test_jobs_fill_the_same_cache_as_workers(table: Table, tmp_path: Path) -> None:
    table = replace(table, seeds=(0,))
    first = run_table(table, tmp_path, jobs=2, cluster=LOCAL)
    assert (first.num_trained, dict(first.failures)) == (2, {})
    threads = {(run.folder / "pid").read_text().split()[1] for run in first.runs}
    assert threads == {"1"}
    again = run_table(table, tmp_path, jobs=1)
    assert (again.num_trained, again.summary) == (0, first.summary)


def test_a_failing_job_and_an_absent_dataset_are_outcomes(content: dict[str, Any], tmp_path: Path) -> None:
    content["rows"] = [
        {"name": "A", "overrides": ["behaviour=fail"]},
        {"name": "B", "overrides": ["behaviour=absent", "+dataset={name: nowhere}"]},
        {"name": "C", "overrides": ["behaviour=absent", "level=0.7", "+dataset={name: nowhere}"]},
    ]
    content["seeds"] = [0]
    table = parse_table(content)
    found = {o.run.cell.row: o for o in run_jobs(table, runs_of(table, tmp_path), LOCAL, jobs=1)}
    assert found["A"].failure is not None
    assert found["A"].failure.text == "RuntimeError: no such luck"
    assert (found["A"].absent, found["B"].absent, found["C"].absent) == (False, True, True)
    assert not (found["C"].run.folder / "calls").exists()


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["in a terminal", "in the background"])
def _started(request: pytest.FixtureRequest) -> Iterator[None]:
    """A shell lets what it starts in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    assert signal.getsignal(signal.SIGINT) == request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_started")
@pytest.mark.parametrize("behaviour", ["hang", "stubborn"])
def test_leaving_early_cancels_the_jobs(behaviour: str, content: dict[str, Any], tmp_path: Path) -> None:
    content["rows"] = [{"name": "A"}, {"name": "B", "overrides": [f"behaviour={behaviour}"]}]
    content["seeds"] = [0]
    table = parse_table(content)
    runs = runs_of(table, tmp_path)
    outcomes = run_jobs(table, runs, LOCAL, jobs=2, poll_seconds=0.05)
    assert next(outcomes).run.cell.row == "A"
    outcomes.close()  # type: ignore[attr-defined]
    assert runs[1].metrics() is None
    pid = runs[1].folder / "pid"
    if pid.exists():  # it had begun
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text().split()[0]), 0)


def test_settings_become_submitit_s() -> None:
    cluster = Cluster(
        "slurm", {"timeout": 60, "gpus": 2, "cpus": 4, "partition": "gpu", "slurm_qos": "low", "mem_gb": 8}
    )
    assert cluster.parameters() == {
        "timeout_min": 60,
        "gpus_per_node": 2,
        "cpus_per_task": 4,
        "slurm_partition": "gpu",
        "slurm_qos": "low",
        "mem_gb": 8,
    }


def test_a_setting_that_submitit_does_not_know_is_one_line(table: Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"submitit\.KEY.*colour") as caught:
        list(run_jobs(table, runs_of(table, tmp_path), Cluster("local", {"slurm_colour": "red"}), jobs=1))
    assert "\n" not in str(caught.value)


def test_absent_submitit_and_slurm_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="sbatch"):
        check_cluster(Cluster("slurm"))
    monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'semscale-pl\[launchers\]'"):
        check_cluster(Cluster("local"))
    with pytest.raises(ValueError, match="'cloud'"):
        check_cluster(Cluster("cloud"))
