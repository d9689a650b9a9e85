"""Two real gloo processes equal one process on the same global batches, under ddp and ddp_spawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCENARIO = Path(__file__).with_name("scenario.py")
ROW_TOLERANCE = {"64-true": 1e-10, "32-true": 1e-5}


def _start(strategy: str, precision: str, pool: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    call = [sys.executable, str(SCENARIO), strategy, precision, str(folder), pool]
    return subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _run(folder: Path, plan: dict[str, tuple[str, str, str]]) -> dict[str, list[dict[str, Any]]]:
    """Run scenarios one after another and read each rank's state."""
    states = {}
    for name, (strategy, precision, pool) in plan.items():
        process = _start(strategy, precision, pool, folder / name)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
        ranks = sorted((folder / name).glob("rank*.pt"))
        states[name] = [torch.load(path, weights_only=True) for path in ranks]
    return states


def _assert_ranks_equal(ranks: list[dict[str, Any]]) -> None:
    assert len(ranks) == 2
    first, second = ranks
    for name in ("scales", "weights"):
        assert torch.equal(first[name], second[name])
    for name, value in first["pool"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second["pool"][name]), name
    for name, value in first["parameters"].items():
        assert torch.equal(value, second["parameters"][name]), name


def _assert_equals_one_process(ranks: list[dict[str, Any]], alone: dict[str, Any], tolerance: float) -> None:
    assert ranks[0]["steps"] == alone["steps"] > 0
    assert alone["rows"] is True
    labels = [name for name in alone["pool"] if name.endswith("labels")]
    pushed = [name for name in alone["pool"] if "num_pushed" in name]
    assert labels
    assert pushed
    for name in (*labels, *pushed):  # the count too: equal pools that both swallowed too much would pass otherwise
        assert torch.equal(ranks[0]["pool"][name], alone["pool"][name]), name
    for name in ("scales", "weights"):
        torch.testing.assert_close(ranks[0][name], alone[name], rtol=tolerance * 10, atol=tolerance * 10)
    for name, value in alone["parameters"].items():
        torch.testing.assert_close(ranks[0]["parameters"][name], value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_float64_parameters_agree_to_1e_10(strategy: str, tmp_path: Path) -> None:
    plan = {"alone": ("auto", "64-true", "indexed"), "ranks": (strategy, "64-true", "indexed")}
    states = _run(tmp_path, plan)
    _assert_ranks_equal(states["ranks"])
    _assert_equals_one_process(states["ranks"], states["alone"][0], 1e-10)


def test_float32_and_the_queue_agree_to_1e_5(tmp_path: Path) -> None:
    states = _run(tmp_path, {"alone": ("auto", "32-true", "fifo"), "ranks": ("ddp_fork", "32-true", "fifo")})
    _assert_ranks_equal(states["ranks"])
    _assert_equals_one_process(states["ranks"], states["alone"][0], 1e-5)
