"""Moments of a Gaussian classifier gathered from two and three real gloo processes equal those of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed.discriminant_scenario import SHARES, samples

from semscale_pl.geometry import DiscriminantMoments

SCENARIO = Path(__file__).with_name("discriminant_scenario.py")


@pytest.mark.parametrize("ranks", SHARES)
def test_ranks_equal_one_process(ranks: int, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    calls = [[sys.executable, str(SCENARIO), str(rank), str(ranks), str(tmp_path)] for rank in range(ranks)]
    started = [
        subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for call in calls
    ]
    for process in started:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)]
    for name, expected in DiscriminantMoments.of(*samples()).state_dict().items():
        torch.testing.assert_close(found[0][name], expected, rtol=1e-10, atol=1e-10)
        assert all(torch.equal(found[0][name], other[name]) for other in found[1:])
