"""Mixed images on two and three gloo ranks equal one process on the same global batches, whatever the options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

MIXINGS = [f"{name}-{probability}" for name in ("mixup", "cutmix") for probability in (0.5, 1.0)]
CASES = [
    (mixing, mixed)
    for mixing in MIXINGS
    for mixed in ("dominant", "skip", "clean", "score")
    if (mixing[-3:], mixed) != ("1.0", "skip")  # refused: the pool would stay empty
]
SCENARIO = Path(__file__).with_name("mixing_scenario.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[Any, Any]]]:
    """Run all cases once as one process, as two and as three: number of ranks to what each rank ends with."""
    folder = tmp_path_factory.mktemp("mixing")
    call = [sys.executable, str(SCENARIO), "1,2,3", str(folder)]
    done = subprocess.run(call, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        ranks: [torch.load(folder / f"ranks{ranks}_{rank}.pt", weights_only=True) for rank in range(ranks)]
        for ranks in (1, 2, 3)
    }


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_ranks_equal_one_process(case: tuple[str, str], ranks: int, results: dict[int, list[dict[Any, Any]]]) -> None:
    alone, several = results[1][0][case], [found[case] for found in results[ranks]]
    assert set(results[1][0]) >= set(CASES)
    assert ("pool" in alone) == (case[1] != "score")
    mixed = alone["shares"] >= 0
    assert bool(mixed.all()) == case[0].endswith("1.0")
    assert int(mixed.sum()) > 0
    for name, value in alone.items():
        for found in several:
            assert torch.equal(found[name], several[0][name]), name
        torch.testing.assert_close(several[0][name], value, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_the_first_rank_answers_for_all_and_one_rank_can_be_alone(results: dict[int, list[dict[Any, Any]]]) -> None:
    for ranks, found in results.items():
        assert [one["answers"] for one in found] == [[True, False]] * ranks
        assert [one["own"] for one in found] == [(0, 1, torch.tensor([number])) for number in range(ranks)]
