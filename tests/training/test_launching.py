"""Sweeps and several processes, alone and together, and the package installed from a wheel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from semscale_pl.cli.main import main
from semscale_pl.config.command_line import quoted
from semscale_pl.training.building import build_datamodule
from semscale_pl.training.record import diagnose
from semscale_pl.training.restoring import restore

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = ["trainer.max_epochs=2", "backbone.width=8"]


def seeds_of(records: list[Path]) -> list[int]:
    return sorted(json.loads(path.read_text())["seed"] for path in records)


def finished(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command whose ranks must not outlive it where it hangs; return its exit code and what it wrote."""
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    return code, log.read_text()


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("text", ["runs/a", "it's", "a=1,b", "back\\slash", "end\\"])
def test_quoted_survives_hydras_grammar(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"x={quoted(text)}"])
    value = override.value()
    assert getattr(value, "text", value) == text


def test_sweep_runs_every_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    sweep = ["seed=0,1", "loss=ce,focal", "reweighting=inverse_frequency", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert main(["train", *QUICK, *sweep, "-m"]) == 0
    assert seeds_of(list(tmp_path.glob("sweep/*/metrics.json"))) == [0, 0, 1, 1]


def test_sweep_of_two_process_runs(tmp_path: Path) -> None:
    sweep = ["-m", "seed=0,1", "trainer=ddp_cpu", "trainer.devices=2", f"hydra.sweep.dir={tmp_path}/sweep"]
    command = [sys.executable, "-m", "semscale_pl", "train", *sweep, *QUICK]
    code, errors = finished(command, tmp_path)
    assert code == 0, errors[-3000:]
    records = list(tmp_path.rglob("metrics.json"))
    assert sorted(path.parent.name for path in records) == ["0", "1"]
    assert seeds_of(records) == [0, 1]
    assert errors.count("MEMBER: 2/2") == 2
    assert len(list(tmp_path.rglob("scales.csv"))) == 2
    assert not (tmp_path / "runs").exists()
    # The first rank writes the record alone: of all training images, not of its share of them.
    restored = restore(records[0].parent / "checkpoints" / "last.ckpt")
    scales = diagnose(restored.module, build_datamodule(restored.config))["S'"]
    assert json.loads(records[0].read_text())["scales"]["S'"] == pytest.approx(scales, rel=1e-5)


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_ends_every_rank(whole_group: bool, tmp_path: Path) -> None:
    ranks = ["trainer=ddp_cpu", "trainer.devices=2", "trainer.max_epochs=2000", "backbone.width=4"]
    log, run = tmp_path / "output.txt", tmp_path / "run"
    command = [sys.executable, "-m", "semscale_pl", "train", *ranks, f"hydra.run.dir={run}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        end = time.monotonic() + 90
        while not (run / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.05)
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 143, log.read_text()[-3000:]
        while is_there(process.pid):  # an ended rank stays in the group until init takes it
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert log.read_text().count("Ended by SIGTERM. The last finished epoch is kept.") == 1
    assert not any(words in log.read_text() for words in ("Traceback", "Another process", "Error executing"))


def test_wheel_works_from_another_folder(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built without isolation, with the build backend at hand")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*build, str(REPOSITORY)], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    assert (target / "semscale_pl" / "conf" / "train.yaml").is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "semscale_pl", "train", *QUICK, "hydra.run.dir=run"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (elsewhere / "run" / "metrics.json").is_file()


def test_a_sweep_over_a_group_takes_settings_of_that_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    groups = "reweighting=semantic_scale,class_balanced"  # the default option has no start_epoch
    settings = ["reweighting.start_epoch=1", "trainer.max_epochs=2", "backbone.width=4", f"hydra.sweep.dir={tmp_path}"]
    assert main(["train", "-m", groups, *settings]) == 0
    configs = [json.loads(path.read_text())["config"]["reweighting"] for path in tmp_path.rglob("metrics.json")]
    assert [config["start_epoch"] for config in configs] == [1, 1]
    assert len({config["_target_"] for config in configs}) == 2
