"""A training that leaves the finite numbers ends at that step, or passes over it as if it had not been."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from semscale_pl.callbacks.recording.finiteness import FinitenessWatch, NonFiniteError
from semscale_pl.config.composing import config_dir
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.training.run import TrainingDiverged, TrainResult, train

BAD_EPOCH, BAD_STEP = 1, 2


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the third batch of the second epoch have one image of NaN."""
    original = ImbalancedDataModule.on_after_batch_transfer

    def transfer(self: Any, batch: list[Tensor], number: int) -> Any:
        trainer = self.trainer
        if trainer.training and (trainer.current_epoch, trainer.fit_loop.batch_idx + 1) == (BAD_EPOCH, BAD_STEP):
            batch[0][3] = math.nan
        return original(self, batch, number)

    monkeypatch.setattr(ImbalancedDataModule, "on_after_batch_transfer", transfer)


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    settings = ["trainer.max_epochs=3", "backbone.width=4", *overrides]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return train(compose("train", overrides=settings), run_dir)


DSB = ("reweighting=semantic_scale", "reweighting.start_epoch=1", "loss=equalization")


@pytest.mark.usefixtures("poisoned")
def test_the_first_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"loss is not finite in epoch 2, step 3 of 5.*last\.ckpt is that of"):
        trained(tmp_path)
    assert not (tmp_path / "metrics.json").exists()
    kept = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


@pytest.mark.usefixtures("poisoned")
def test_features_that_are_not_finite_name_class_image_and_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"pool are not finite in epoch 2, step 3, first of class '\d', tr"):
        trained(tmp_path, *DSB)


@pytest.mark.usefixtures("poisoned")
def test_a_step_that_is_skipped_leaves_no_trace(tmp_path: Path) -> None:
    result = trained(tmp_path, *DSB, "on_nonfinite=skip")
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert (content["skipped_steps"], content["interrupted"]) == (1, False)
    assert all(value.isfinite().all() for value in result.module.state_dict().values())
    losses = [line.split(",") for line in (tmp_path / "csv/metrics.csv").read_text().splitlines()]
    column = losses[0].index("train/loss")
    assert all(math.isfinite(float(row[column])) for row in losses[1:] if row[column])


class Watched(pl.Callback):
    """Keep the parameters and buffers after every step; make one gradient, or one whole epoch of inputs, infinite."""

    def __init__(self, gradient_at: int | None = None) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.gradient_at = gradient_at

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if trainer.fit_loop.batch_idx == self.gradient_at and trainer.current_epoch == 0:
            next(pl_module.parameters()).grad.view(-1)[0] = math.inf

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.states.append({name: value.detach().clone() for name, value in pl_module.state_dict().items()})


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_gradient_that_is_not_finite_moves_nothing(accumulated: int, tmp_path: Path) -> None:
    kept, watch = Watched(gradient_at=1), FinitenessWatch("skip")
    _fit([watch, kept], tmp_path, max_epochs=1, accumulate_grad_batches=accumulated)
    before, after = kept.states[0], kept.states[1]
    parameters = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(before[name], after[name]) for name in parameters)
    assert not equal(kept.states[1], kept.states[-1])
    assert watch.skipped == accumulated  # all batches of that update


@pytest.mark.usefixtures("poisoned")
def test_of_accumulated_batches_only_the_bad_one_is_lost(tmp_path: Path) -> None:
    kept, watch = Watched(), FinitenessWatch("skip")
    _fit([watch, kept], tmp_path, max_epochs=2, accumulate_grad_batches=3)
    assert watch.skipped == 1
    assert not equal(kept.states[-4], kept.states[-3])  # the update of the first three batches of the second epoch
    assert all(value.isfinite().all() for value in kept.states[-1].values())


def test_an_epoch_without_a_step_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ImbalancedDataModule, "on_after_batch_transfer", lambda _, batch, n: [batch[0] * math.nan, *batch[1:]]
    )
    with pytest.raises(TrainingDiverged, match=r"no step of epoch 1 .* that are no numbers\. No record"):
        trained(tmp_path, "on_nonfinite=skip")  # which is no advice any more


def test_parameters_that_are_not_finite_do_not_reach_a_checkpoint(tmp_path: Path) -> None:
    class Breaks(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                pl_module.classifier.extra = torch.nn.Parameter(torch.tensor(math.nan))

    with pytest.raises(NonFiniteError, match="parameters of the model are not finite after epoch 2"):
        _fit([Breaks(), FinitenessWatch()], tmp_path, max_epochs=3)


def _fit(callbacks: list[pl.Callback], folder: Path, **options: Any) -> None:
    from semscale_pl.training import building

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(
            "train", overrides=["backbone.width=4", *(f"trainer.{key}={value}" for key, value in options.items())]
        )
    data = building.build_datamodule(cfg)
    module = building.build_module(cfg, data.num_classes, data.class_names, [int(count) for count in data.class_counts])
    building.build_trainer(cfg, callbacks, [], folder, data.has_validation).fit(module, datamodule=data)
