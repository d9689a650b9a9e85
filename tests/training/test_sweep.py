"""Sweeps: every job runs, a table tells the failures, a repeated sweep keeps what is there, a signal ends it whole."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from semscale_pl.cli.main import main
from semscale_pl.files import claimed
from semscale_pl.training.sweep import Job
from semscale_pl.training.sweep_table import differing

QUICK = ["trainer.max_epochs=1", "backbone.width=4", "dataset.batch_size=64"]


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def sweep(*overrides: str) -> int:
    return main(["train", "-m", *QUICK, *overrides, "hydra.sweep.dir=sweep"])


def rows() -> list[dict[str, str]]:
    with Path("sweep/sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(name: str) -> list[str]:
    return [row[name] for row in rows()]


@pytest.mark.parametrize("batches", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_the_other_jobs_run_and_a_table_says_what_failed(
    batches: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from semscale_pl.training import run

    train = run.train

    def faulty(cfg: Any, *arguments: Any, **options: Any) -> Any:
        if cfg.seed == 1 and cfg.optimizer.lr < 1:
            raise RuntimeError("a fault\nof ours")
        return train(cfg, *arguments, **options)

    monkeypatch.setattr(run, "train", faulty)
    assert sweep("loss=ldam,ce", "optimizer.lr=1e30,0.1", "seed=1,2", *batches) == 1
    assert column("status") == ["refused"] * 4 + ["failed"] * 3 + ["done"]
    assert column("loss") == ["ldam"] * 4 + ["ce"] * 4
    out, err = capfd.readouterr()
    table = out.partition("sweep in sweep")[2]
    assert [line for line in table.splitlines() if "done" in line] == [
        line for line in table.splitlines() if "loss=ce optimizer.lr=0.1 seed=2" in line
    ]
    told = [line for line in err.splitlines() if line.startswith("semscale: job ") and "cannot run" not in line]
    assert len(told) == 7
    assert told[0].startswith(
        "semscale: job 0 (loss=ldam optimizer.lr=1e+30 seed=1) refused: Expected classifier=cosine"
    )
    assert "(loss=ce optimizer.lr=1e+30 seed=1) failed: Training diverged" in told[4]
    assert told[6] == "semscale: job 6 (loss=ce optimizer.lr=0.1 seed=1) failed: RuntimeError: a fault of ours"
    record = json.loads(Path("sweep/7/metrics.json").read_text())
    assert float(rows()[7]["balanced_accuracy"]) == record["results"]["last"]["balanced_accuracy"]
    assert not Path("sweep/.jobs").exists()


def test_a_repeated_sweep_keeps_its_runs_and_overwrites_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep("seed=0,1") == 0
    first = Path("sweep/0/metrics.json").read_bytes()
    assert sweep("seed=0,2") == 1
    assert column("status") == ["kept", "refused"]
    assert "sweep/1 holds a finished run: go on" in column("why")[1]
    assert "another folder by hydra.sweep.dir=." in capfd.readouterr().err
    assert float(rows()[0]["objective"]) == json.loads(first)["objective"]["value"]
    assert sweep("seed=0,2", "overwrite=true") == 0
    assert column("status") == ["done", "done"]
    assert json.loads(Path("sweep/1/metrics.json").read_text())["seed"] == 2


def test_two_sweeps_at_once_and_a_sweep_of_refused_jobs_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with claimed("sweep"):
        assert sweep("seed=0,1") == 2
    assert "is writing in" in capfd.readouterr().err
    assert sweep("loss=ldam", "seed=0,1") == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert not Path("sweep").exists()


def test_what_differs_between_jobs() -> None:
    jobs = [Job(0, ("a=1", "+b=x", "c=2"), ""), Job(1, ("a=1", "+b=y", "c=2", "d=1"), "")]
    assert differing(jobs) == [{"b": "x"}, {"b": "y", "d": "1"}]


def test_start_epochs_that_differ_are_noted(capfd: pytest.CaptureFixture[str]) -> None:
    settings = ["reweighting=inverse_frequency,semantic_scale", "trainer.max_epochs=2"]
    assert main(["train", "-m", *QUICK[1:], *settings, "reweighting.start_epoch=1", "hydra.sweep.dir=even"]) == 0
    table = capfd.readouterr().out.partition("sweep in even")[2]
    assert table.rstrip().endswith("Table in even/sweep.csv")
    assert "start" not in table
    settings = ["reweighting=inverse_frequency", "reweighting.start_epoch=0,1", "trainer.max_epochs=2"]
    assert main(["train", "-m", *QUICK[1:], *settings, "hydra.sweep.dir=uneven"]) == 0
    assert "start_epoch" in capfd.readouterr().out


def test_a_sweeper_gets_the_selected_metric_of_each_run(tmp_path: Path) -> None:
    if find_spec("hydra_plugins") is None or find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("pip install 'semscale-pl[sweepers]'")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    settings = ["hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=1", "dataset.validation_fraction=0.2"]
    space = "optimizer.lr=interval(0.01,1)"
    call = ["train", "-m", *QUICK, *search, *settings, space, "hydra.sweep.dir=sweep"]
    # In a process of its own: the plugin's warnings stay there.
    done = subprocess.run([sys.executable, "-m", "semscale_pl", *call], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    best = OmegaConf.load("sweep/optimization_results.yaml")
    assert len(rows()) == 3
    assert best.best_value == max(map(float, column("objective")))
    winner = next(row for row in rows() if float(row["objective"]) == best.best_value)
    assert float(winner["optimizer.lr"]) == best.best_params["optimizer.lr"]


def test_the_objective_is_that_of_the_validation_part_where_there_is_one() -> None:
    assert sweep("dataset.validation_fraction=0.2,0") == 0
    names = [json.loads(Path(f"sweep/{number}/metrics.json").read_text())["objective"]["name"] for number in (0, 1)]
    assert names == ["val/balanced_accuracy", "test/balanced_accuracy"]
    assert rows()[1]["objective"] == rows()[1]["balanced_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]], ids=["basic", "joblib"]
)
def test_a_signal_ends_the_whole_sweep_and_the_line_it_prints_finishes_it(launcher: list[str], tmp_path: Path) -> None:
    call = ["-m", "seed=0,1,2", "trainer.max_epochs=15", "backbone.width=8", "augmentation=crop", *launcher]
    command = [sys.executable, "-m", "semscale_pl", "train", *call, "hydra.sweep.dir=my sweep"]
    Path("my sweep").mkdir()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        end = time.monotonic() + 90
        while not list(tmp_path.glob("my sweep/*/checkpoints/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        errors = process.communicate(timeout=60)[1].decode()
    finally:
        process.kill()
    assert process.returncode == 143, errors[-2000:]
    assert not list(tmp_path.glob("my sweep/2/checkpoints"))
    line = errors.splitlines()[-1]
    assert line.startswith("Ended by SIGTERM. Finished jobs are kept (0). To go on, type: ")
    done = subprocess.run(["sh", "-c", line.partition("type: ")[2]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with Path("my sweep/sweep.csv").open(newline="") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert set(statuses) == {"done", "kept"}  # kept: what the first of the lines has finished
    assert len(list(tmp_path.glob("my sweep/*/metrics.json"))) == 3
