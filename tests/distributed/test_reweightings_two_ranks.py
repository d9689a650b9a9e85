"""Every re-weighting that looks beyond its own rank: two gloo processes equal one on the same global batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCENARIO = Path(__file__).with_name("reweighting_scenario.py")
VALUES = {
    "DifficultyReweighting": {"difficulty", "weight"},
    "ScoreReweighting": {"score", "log_prior"},
    "EffectiveAreaReweighting": {"area", "weight"},
    "SampleVolumeReweighting": {"volume", "weight"},
    "MixedImages": {"scale", "interclass", "imbalance", "weight"},
    "InStockModule": {"scale", "interclass", "imbalance", "weight"},
    "ScalePriorReweighting": {"scale", "interclass", "imbalance", "log_prior"},
    "ClassGeometryReweighting": {"measure", "margin"},
    "CountMatchedReweighting": {"imbalance", "substitute", "weight"},
    "ShuffledResidualReweighting": {"imbalance", "substitute", "weight"},
    "FrozenScaleReweighting": {"scale", "interclass", "imbalance", "weight"},
    "PowerOfCountReweighting": {"imbalance", "weight"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run the scenario once as one process and once as two."""
    found = {}
    for strategy in ("auto", "ddp_fork"):
        found[strategy] = tmp_path_factory.mktemp(strategy)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        call = [sys.executable, str(SCENARIO), strategy, str(found[strategy])]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", sorted(VALUES))
def test_two_ranks_equal_one_process(name: str, folders: dict[str, Path]) -> None:
    alone = torch.load(folders["auto"] / f"{name}.rank0.pt", weights_only=True)
    ranks = [torch.load(folders["ddp_fork"] / f"{name}.rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert set(alone) >= {*VALUES[name], "loss"}
    for key, value in alone.items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        torch.testing.assert_close(ranks[0][key], value, rtol=1e-9, atol=1e-9)
