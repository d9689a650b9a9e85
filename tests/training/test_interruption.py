"""Runs that a limit cuts short: marked in their records, resumed to what an unbroken run gives, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.training.building import left_out
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.run import TrainResult, train

QUICK = ["trainer.max_epochs=3", "backbone.width=4"]  # five batches an epoch, four where some images are held out


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*QUICK, *overrides])
    check_train(cfg)
    return train(cfg, run_dir)


def record(run_dir: Path) -> dict[str, Any]:
    """Return metrics.json without what may differ between two equal runs."""
    content = json.loads((run_dir / "metrics.json").read_text())
    del content["cost"]
    content["config"]["ckpt_path"] = None
    return content


def state(run_dir: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(run_dir / f"checkpoints/{name}.ckpt", weights_only=True)


def assert_equal_runs(first: Path, second: Path) -> None:
    assert record(first) == record(second)
    for name in ("scales.csv", "csv/metrics.csv"):
        assert (first / name).read_text() == (second / name).read_text()
    ours, theirs = (state(folder)["state_dict"] for folder in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_cut_in_mid_epoch_and_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    settings = (
        "reweighting=semantic_scale", "reweighting.start_epoch=1", "loss=equalization", "augmentation=crop",
        "mixing=mixup", "dataset.validation_per_class=1",
    )  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trained(whole, *settings)
    result = trained(cut, *settings, "trainer.max_steps=6")
    assert result.interrupted_by == ("trainer.max_steps=6 in epoch 2 of 3",)
    found = record(cut)
    assert (found["interrupted"], found["completed_epochs"]) == (True, 1)
    assert found["interrupted_by"] == list(result.interrupted_by)
    assert (state(cut)["epoch"], state(cut, "cut")["global_step"], state(cut, "best")["epoch"]) == (0, 6, 0)
    # As it was when it was cut: what the record tested.
    assert evaluate(cut / "checkpoints/cut.ckpt")["top1"] == found["results"]["last"]["top1"]
    with pytest.raises(MisconfigurationException, match=r"from the middle of epoch 2, after 2 batches.*last\.ckpt"):
        trained(cut, *settings, f"ckpt_path={cut}/checkpoints/cut.ckpt")
    # Once more with a limit, at the end of an epoch, where Lightning's own would begin to count wrongly.
    trained(cut, *settings, "trainer.max_steps=8", f"ckpt_path={cut}/checkpoints/last.ckpt")
    assert record(cut)["interrupted_by"] == ["trainer.max_steps=8 after epoch 2 of 3"]
    assert not (cut / "checkpoints/cut.ckpt").exists()
    trained(cut, *settings, f"ckpt_path={cut}/checkpoints/last.ckpt")
    assert_equal_runs(whole, cut)


def test_time_that_has_run_out_is_an_interruption(tmp_path: Path) -> None:
    trained(tmp_path, "trainer.max_time=00:00:00:00")
    assert record(tmp_path)["interrupted_by"] == ["trainer.max_time after epoch 0 of 3"]


def test_what_was_left_out_of_training_stays_in_the_notes(tmp_path: Path) -> None:
    trained(tmp_path, "trainer.limit_train_batches=2", "trainer.limit_test_batches=0.5", "trainer.max_epochs=1")
    limits = ["trainer.limit_train_batches=2", "trainer.limit_test_batches=0.5"]
    assert record(tmp_path)["interrupted_by"] == limits
    trained(tmp_path, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    assert record(tmp_path)["interrupted_by"] == limits[:1]  # the test was a whole one


@pytest.mark.parametrize(
    ("settings", "training", "test"),
    [
        ((), [], []),
        (("trainer.limit_train_batches=1",), ["trainer.limit_train_batches=1"], []),  # one batch, not all of them
        (("trainer.limit_val_batches=0.5",), ["trainer.limit_val_batches=0.5"], []),
        (("trainer.limit_test_batches=2", "trainer.overfit_batches=0"), [], ["trainer.limit_test_batches=2"]),
        (("trainer.fast_dev_run=3",), ["trainer.fast_dev_run=3"], []),
    ],
)
def test_settings_that_leave_something_out(settings: tuple[str, ...], training: list[str], test: list[str]) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        assert left_out(compose("train", overrides=[*settings]), has_validation=True) == (training, test)


def test_a_trial_run_goes_through_all_parts_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    settings = ("reweighting=semantic_scale", "dataset.validation_per_class=2", "callbacks=early_stopping")
    (tmp_path / "checkpoints").mkdir()
    trained(tmp_path, "trainer.fast_dev_run=true", "trainer.profiler=simple", *settings)
    found = record(tmp_path)
    assert found["interrupted_by"] == ["trainer.fast_dev_run=True"]
    assert found["results"]["selected"] is None
    assert sum(map(sum, found["results"]["last"]["confusion_matrix"])) == 512
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert "run_training_batch" in (tmp_path / "profile/fit-simple.txt").read_text()


def test_overfitting_shows_the_same_batches_again_and_again(tmp_path: Path) -> None:
    result = trained(tmp_path, "trainer.overfit_batches=1", "trainer.max_epochs=2")
    sampler: Any = result.datamodule.train_dataloader().batch_sampler
    batches = []
    for epoch in (0, 1):
        sampler.sampler.set_epoch(epoch)
        batches.append(next(iter(sampler)))
    assert batches[0] == batches[1]
    assert record(tmp_path)["interrupted_by"] == ["trainer.overfit_batches=1"]


def test_early_stopping_is_a_normal_end(tmp_path: Path) -> None:
    settings = ("callbacks=early_stopping", "callbacks.early_stopping.patience=2", "dataset.validation_per_class=2")
    never = "callbacks.early_stopping.min_delta=1.5"
    trained(tmp_path, *settings, never, "trainer.val_check_interval=2")
    assert record(tmp_path)["interrupted_by"] == []
    assert record(tmp_path)["completed_epochs"] == 1  # the third validation came in mid-epoch
    assert state(tmp_path)["global_step"] == 6
    with pytest.raises(MisconfigurationException, match="Train from the start"):
        trained(tmp_path, *settings, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("trainer.limit_test_batches=0.1",), "`trainer.limit_test_batches` to leave at least one batch, but 0.1 of"),
        (("trainer.overfit_batches=0.01",), "`trainer.overfit_batches` to leave at least one batch"),
        (
            ("trainer.val_check_interval=3", "trainer.limit_train_batches=2", "dataset.validation_per_class=1"),
            "`trainer.val_check_interval` to be at most the 2 training batches",
        ),
    ],
)
def test_limits_that_leave_nothing_are_refused_before_training(
    settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WrongCallError, match=message):
        trained(tmp_path, *settings)
    assert not (tmp_path / "checkpoints").exists()
