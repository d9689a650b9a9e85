"""Batches of two real ranks against those of one process."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from semscale_pl.data.samplers import (
    EpochSampler,
    EvaluationBatchSampler,
    GlobalBatchSampler,
    InstanceSampling,
    PowerSampling,
    Sampling,
)

CASES = [(20, 8), (21, 5), (17, 8), (16, 8), (9, 4)]


def training(size: int, batch_size: int, sampling: Sampling, drop_last: bool = False) -> GlobalBatchSampler:
    labels = torch.arange(size) % 3
    sampler = EpochSampler(sampling, labels, torch.bincount(labels), seed=5)
    sampler.set_epoch(2)
    return GlobalBatchSampler(sampler, batch_size, drop_last)


def everything() -> list[list[list[tuple[int, int]]] | list[list[int]]]:
    lists: list[list[list[tuple[int, int]]] | list[list[int]]] = []
    for size, batch_size in CASES:
        for sampling in (InstanceSampling(), PowerSampling(0.0)):
            batches = list(training(size, batch_size, sampling))
            assert len(batches) == len(training(size, batch_size, sampling))
            lists.append(batches)
        evaluation = EvaluationBatchSampler(size, batch_size)
        lists.append(list(evaluation))
        assert len(lists[-1]) == len(evaluation)
    return lists


def _rank(number: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=2)
    with pytest.raises(ValueError, match="number of ranks"):
        list(training(4, 1, InstanceSampling()))
    torch.save(everything(), f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_two_ranks_see_together_what_one_process_sees(tmp_path: Path) -> None:
    mp.start_processes(_rank, args=(str(tmp_path),), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    for position, (alone, left, right) in enumerate(zip(everything(), *ranks, strict=True)):
        joined = [a + b for a, b in zip(left, right, strict=True)]
        assert all(batch for batch in left + right)
        if position % 3 == 2:
            assert list(chain(*joined)) == list(chain(*alone))
        else:
            # One process takes also a last batch of one sample, which two ranks cannot share.
            assert joined == [batch for batch in alone if len(batch) > 1]
    assert any(len(batch) == 1 for case in everything() for batch in case)


def test_keys_carry_the_epoch_and_drop_last_drops() -> None:
    batches = list(training(10, 4, InstanceSampling()))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert {epoch for batch in batches for _, epoch in batch} == {2}
    assert [len(batch) for batch in training(10, 4, InstanceSampling(), drop_last=True)] == [4, 4]


def test_a_set_smaller_than_a_batch_is_evaluated() -> None:
    assert list(EvaluationBatchSampler(3, 8)) == [[0, 1, 2]]
