"""A loader's worker ends where its parent is gone, and is seeded as Lightning does it otherwise."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.seed import pl_worker_init_function

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.vision import Digits
from semscale_pl.data.workers import start_worker


def exit_code(target: Callable[[], None]) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=target)
    child.start()
    child.join(60)
    return child.exitcode


def started(adopter: int | None, method: str = "fork") -> Callable[[], None]:
    def start() -> None:
        multiprocessing.set_start_method(method, force=True)
        if adopter is not None:
            os.getppid = lambda: adopter
        start_worker(0)

    return start


def test_a_worker_without_its_parent_ends_at_once() -> None:
    assert exit_code(started(adopter=1)) == 1
    assert exit_code(started(adopter=None)) == 0


def test_a_fork_server_is_no_lost_parent() -> None:
    assert exit_code(started(adopter=1, method="forkserver")) == 0


def test_a_process_that_is_nobodys_worker_goes_on() -> None:
    start_worker(0)


@pytest.mark.parametrize("asked", ["0", "1"])
def test_workers_have_lightnings_seeds_where_they_are_asked_for(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", asked)
    drawn = []
    for start in (start_worker, pl_worker_init_function):
        with torch.random.fork_rng(devices=[]):
            np.random.seed(0)
            torch.manual_seed(5)
            start(1, rank=2)
            drawn.append((torch.rand(1).item(), np.random.rand()))
    assert (drawn[0] == drawn[1]) is (asked == "1")


def test_every_loader_starts_its_workers_so_and_can_be_sent_to_them() -> None:
    data = ImbalancedDataModule(Digits(), batch_size=64, num_workers=1, in_memory=False)
    data.setup()
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert pickle.loads(pickle.dumps(loader.worker_init_fn)).func is start_worker
        assert len(next(iter(loader))) == 3
