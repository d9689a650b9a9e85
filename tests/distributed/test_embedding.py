"""Embeddings trained on two gloo ranks equal one process on the same global batches, also where terms span ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = ("proxy_anchor", "soft_triple")
SCENARIO = Path(__file__).with_name("embedding_scenario.py")
Results = list[dict[str, dict[str, torch.Tensor]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Results]:
    found = {}
    for ranks in (1, 2):
        folder = tmp_path_factory.mktemp("embedding")
        call = [sys.executable, str(SCENARIO), str(ranks), str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        found[ranks] = [torch.load(folder / f"rank{own}.pt", weights_only=True) for own in range(ranks)]
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(case: str, results: dict[int, Results]) -> None:
    alone, (first, second) = results[1][0][case], (found[case] for found in results[2])
    assert alone["losses"].min() > 0
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-10, atol=1e-10)
