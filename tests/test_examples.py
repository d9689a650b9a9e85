"""The documented ways in, run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.filterwarnings("ignore:.*litlogger.*")
def test_own_lightning_module(capsys: pytest.CaptureFixture[str]) -> None:
    balancing = runpy.run_path(str(EXAMPLES / "own_lightning_module.py"))["main"]()
    assert balancing.pool.is_full
    assert balancing.pool.class_counts().tolist() == [200, 60, 20, 6]
    shares = torch.tensor([200, 60, 20, 6]) / 286
    assert float((shares * balancing.weights).sum()) == pytest.approx(1.0)
    assert "class weights" in capsys.readouterr().out


def test_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    pool, weights = runpy.run_path(str(EXAMPLES / "plain_loop.py"))["main"]()
    assert pool.class_counts().tolist() == [200, 60, 20, 6]
    assert int(weights.argmax()) == 3  # the starved class
    assert "semantic scales" in capsys.readouterr().out


def test_incremental_head(capsys: pytest.CaptureFixture[str]) -> None:
    known, added, spoilt, restored = runpy.run_path(str(EXAMPLES / "incremental_head.py"))["main"]().values()
    assert known < 0.9 < added
    assert spoilt < added
    assert restored == added
    assert "a class more in" in capsys.readouterr().out
