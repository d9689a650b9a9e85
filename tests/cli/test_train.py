"""`semscale train` and `semscale evaluate` on long-tailed digits, end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.training.run import TrainResult, train

QUICK = ["trainer.max_epochs=2", "reweighting=semantic_scale", "reweighting.start_epoch=1"]
TIMES = ("seconds", "peak_memory")


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*QUICK, *overrides])
    return train(cfg, run_dir)


def parameters(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def record(run_dir: Path) -> dict[str, Any]:
    """Return metrics.json without what may differ between two equal runs."""
    content = json.loads((run_dir / "metrics.json").read_text())
    del content["cost"]
    content["config"]["ckpt_path"] = None
    return content


def assert_equal_runs(first: Path, second: Path) -> None:
    assert record(first) == record(second)
    assert (first / "scales.csv").read_text() == (second / "scales.csv").read_text()
    ours, theirs = parameters(first), parameters(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained(folder)
    return folder


def test_the_cost_names_passes_besides_training(run_dir: Path, tmp_path: Path) -> None:
    assert json.loads((run_dir / "metrics.json").read_text())["cost"]["extra_passes"] == 0
    trained(tmp_path, "reweighting=effective_area", "reweighting.start_epoch=1")
    assert json.loads((tmp_path / "metrics.json").read_text())["cost"]["extra_passes"] == 1


def test_leaves_the_files_of_a_run(run_dir: Path) -> None:
    for name in ("metrics.json", "per_class.csv", "scales.csv", "checkpoints/last.ckpt", "csv/metrics.csv"):
        assert (run_dir / name).is_file(), name
    assert not list(run_dir.rglob("*.partial"))
    assert not (run_dir / "checkpoints" / "best.ckpt").exists()


def test_record_is_strict_and_complete(run_dir: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((run_dir / "metrics.json").read_text(), parse_constant=refuse)
    assert content["completed_epochs"] == 2
    assert content["results"]["selected"] is None
    assert 0 <= content["results"]["last"]["balanced_accuracy"] <= 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(run_dir: Path, tmp_path: Path) -> None:
    trained(tmp_path / "same")
    assert_equal_runs(run_dir, tmp_path / "same")
    trained(tmp_path / "other", "seed=1")
    assert record(run_dir)["results"] != record(tmp_path / "other")["results"]


def test_a_validation_part_selects_an_epoch(tmp_path: Path) -> None:
    result = trained(tmp_path, "dataset.validation_fraction=0.2")
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    assert result.best is not None
    assert json.loads((tmp_path / "metrics.json").read_text())["results"]["selected"] is not None
    stored = parameters(tmp_path)
    assert all(torch.equal(value, stored[name]) for name, value in result.module.state_dict().items())


def test_evaluate_repeats_the_test_results(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["evaluate", f"ckpt={run_dir}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/eval"]) == 0
    evaluated = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["results"]
    assert evaluated == record(run_dir)["results"]["last"]
    assert "balanced accuracy" in capsys.readouterr().out


def test_a_wrong_part_is_answered_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["train", "+loss.gama=3"]) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert "gama" in error[0]


def started(run_dir: Path, *overrides: str, folder: str | None = None) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own and wait for its first checkpoint."""
    folder = folder or f"hydra.run.dir={run_dir}"
    command = [sys.executable, "-m", "semscale_pl", "train", *QUICK, *overrides, folder]
    process = subprocess.Popen(
        command,
        cwd=run_dir.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell that starts the tests in the background leaves the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not (run_dir / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


LONG = ("trainer.max_epochs=12", "backbone.width=16", "augmentation=crop", "mixing=mixup")


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted(workers: int, tmp_path: Path) -> None:
    options = (*LONG, f"dataset.num_workers={workers}", f"dataset.in_memory={'false' if workers else 'auto'}")
    process = started(tmp_path / "killed", *options)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    trained(tmp_path / "killed", *options, f"ckpt_path={tmp_path}/killed/checkpoints/last.ckpt")
    trained(tmp_path / "whole", *options)
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_run_resumed_in_another_folder_knows_the_best_epoch_so_far(tmp_path: Path) -> None:
    held_out = "dataset.validation_fraction=0.2"
    trained(tmp_path / "old", held_out)
    first = torch.load(tmp_path / "old/checkpoints/best.ckpt", weights_only=True)
    ckpt = f"ckpt_path={tmp_path}/old/checkpoints/last.ckpt"
    result = trained(tmp_path / "new", held_out, ckpt, "trainer.max_epochs=3", "trainer.limit_train_batches=1")
    keeper = next(one for one in result.trainer.checkpoint_callbacks if one.monitor)
    best = torch.load(tmp_path / "new/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] >= first["epoch"]
    assert float(keeper.best_model_score) >= max(
        float(state["best_model_score"]) for key, state in first["callbacks"].items() if key.startswith("BestCheck")
    )
    assert result.best is not None


def test_sigterm_says_what_to_type_and_that_works(tmp_path: Path) -> None:
    run = tmp_path / "my 1st run, it's"
    options = (*LONG, "dataset.num_workers=2", "dataset.in_memory=false")
    process = started(run, *options, folder="hydra.run.dir='my 1st run, it\\'s'")
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 143, errors[-2000:]
    line = errors.splitlines()[-1]
    assert line.startswith("Ended by SIGTERM. The last finished epoch is kept. To go on, type: ")
    assert errors.count("SIGTERM") == 1
    assert "Traceback" not in errors
    assert not (run / ".lock").exists()
    done = subprocess.run(["sh", "-c", line.partition("type: ")[2]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((run / "metrics.json").read_text())["completed_epochs"] == 12
    assert "epoch 1/12" not in done.stderr


def test_ctrl_c_leaves_the_checkpoint_and_exit_code_130(tmp_path: Path) -> None:
    process = started(tmp_path / "run", "trainer.max_epochs=2000")
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()[-2000:]
    assert b"Traceback" not in errors
    epochs = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    assert epochs >= 0
    assert (tmp_path / "run" / "scales.csv").read_text().count("\n") > 10
    assert not (tmp_path / "run" / "metrics.json").exists()
