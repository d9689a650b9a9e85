"""Moments of a Gaussian classifier gathered from three real gloo processes equal those of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from distributed.discriminant_scenario import RANKS, samples

from semscale_pl.geometry import DiscriminantMoments

SCENARIO = Path(__file__).with_name("discriminant_scenario.py")


def test_three_ranks_equal_one_process(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    calls = [[sys.executable, str(SCENARIO), str(rank), str(tmp_path)] for rank in range(RANKS)]
    started = [
        subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for call in calls
    ]
    for process in started:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]
    for name, expected in DiscriminantMoments.of(*samples()).state_dict().items():
        torch.testing.assert_close(ranks[0][name], expected, rtol=1e-10, atol=1e-10)
        assert all(torch.equal(ranks[0][name], other[name]) for other in ranks[1:])
