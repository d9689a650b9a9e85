"""Rates that follow the global batch, and LDAM's schedule against its official code."""

from __future__ import annotations

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from semscale_pl.config.composing import config_dir
from semscale_pl.modules.schedules import linear_scaling
from semscale_pl.training.building import build_optimizer


def rate(*overrides: str) -> float:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["optimizer.lr=0.1", *overrides])
    optimizer = build_optimizer(cfg)([torch.nn.Parameter(torch.ones(1))])
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["dataset.batch_size=512"], 0.1),
        (["dataset.batch_size=512", "lr_reference_batch=128"], 0.4),
        (["dataset.batch_size=32", "lr_reference_batch=128"], 0.025),
        (["dataset.batch_size=128", "lr_reference_batch=128"], 0.1),
        (["dataset.batch_size=64", "lr_reference_batch=128", "trainer.accumulate_grad_batches=8"], 0.4),
        (["dataset.batch_size=256", "lr_reference_batch=128", "trainer=ddp_cpu"], 0.2),
        (["dataset.batch_size=256", "lr_reference_batch=128", "optimizer=adamw", "optimizer.lr=0.003"], 0.006),
    ],
    ids=str,
)
def test_rate_of_the_built_optimizer(overrides: list[str], expected: float) -> None:
    assert rate(*overrides) == pytest.approx(expected, rel=1e-12)


def test_other_settings_of_the_optimizer_stay() -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["optimizer=sgd", "lr_reference_batch=16"])
    group = build_optimizer(cfg)([torch.nn.Parameter(torch.ones(1))]).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)


@pytest.mark.parametrize(("batch_size", "reference_batch"), [(0, 1), (1, 0), (-4, 2)])
def test_refuses_an_empty_batch(batch_size: int, reference_batch: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        linear_scaling(0.1, batch_size, reference_batch)


def official_rate(epoch: int, full: float) -> float:
    """Return the rate of LDAM's `adjust_learning_rate`, whose epochs start from 0 and are counted from 1."""
    epoch = epoch + 1
    if epoch <= 5:
        return full * epoch / 5
    if epoch > 180:
        return full * 0.0001
    if epoch > 160:
        return full * 0.01
    return full


def rates(scheduler: str, epochs: int) -> list[float]:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"scheduler={scheduler}", f"trainer.max_epochs={epochs}"])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = instantiate(cfg.scheduler)(optimizer)
    found = []
    for _ in range(epochs):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def test_ldam_schedule_is_that_of_the_official_code() -> None:
    assert rates("multistep_ldam", 200) == pytest.approx([official_rate(epoch, 0.1) for epoch in range(200)], rel=1e-12)


def test_exponential_schedule_loses_two_percent_an_epoch() -> None:
    assert rates("exponential", 30) == pytest.approx([0.1 * 0.98**epoch for epoch in range(30)], rel=1e-9)


def test_step_schedule_cuts_every_fifty_epochs() -> None:
    assert rates("step50", 120) == pytest.approx([0.1 * 0.1 ** (epoch // 50) for epoch in range(120)], rel=1e-9)
