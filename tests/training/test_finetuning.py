"""Runs that train a part of their backbone: resumed, on two ranks, averaged, recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.vision import Digits
from semscale_pl.losses import CrossEntropy
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.models.small_cnn import SmallCNN
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.training.building import build_module
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.run import TrainResult, train

SETTINGS = [
    "backbone.width=4", "finetune.train_last=2", "finetune.backbone_lr=0.02", "finetune.layer_decay=0.5",
    "lr_reference_batch=32", "scheduler=exponential", "reweighting=semantic_scale", "reweighting.start_epoch=1",
    "loss=sigmoid_focal", "trainer.max_epochs=2",
]  # fmt: skip


def trained(folder: Path, *overrides: str) -> TrainResult:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["callbacks.progress=null", *SETTINGS, *overrides])
    check_train(cfg)
    return train(cfg, folder)


def test_a_resumed_run_equals_an_unbroken_one_and_the_record_counts_what_is_trained(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "part", "trainer.max_steps=5")
    resumed = trained(tmp_path / "part", f"ckpt_path={tmp_path}/part/checkpoints/last.ckpt")
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    rates = {group["name"]: group["initial_lr"] for group in whole.trainer.optimizers[0].param_groups}
    # The batch of 64 doubles the rates.
    assert rates == pytest.approx({"backbone.trunk.block2.0": 0.01, "backbone.trunk.block3.0": 0.02,
                                   "head": 0.1, "offsets": 0.1})  # fmt: skip
    record = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    backbone, head = whole.module.backbone, whole.module.classifier
    frozen = sum(one.numel() for one in backbone.trunk.block1.parameters())  # type: ignore[union-attr]
    both = [sum(one.numel() for one in part.parameters()) for part in (backbone, head)]
    assert record["parameters"] == {"backbone": both[0], "head": both[1], "trained": sum(both) - frozen}
    again = evaluate(tmp_path / "part" / "checkpoints" / "last.ckpt")
    assert again["confusion_matrix"] == record["results"]["last"]["confusion_matrix"]


def test_a_backbone_that_cannot_be_trained_so_is_one_line() -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["finetune.train_last=4"])
    with pytest.raises(WrongCallError, match="`finetune`: Expected `train_last` to be at most 3"):
        build_module(cfg, 10)


class Layers(nn.Module):
    """Three layers, no batch statistics."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def fitted(
    make: Callable[[], nn.Module], last: int, *callbacks: pl.Callback, devices: int = 1
) -> tuple[ImbalancedClassifier, dict[str, Tensor]]:
    """Train with frozen first blocks; return the module and what it started from."""
    torch.manual_seed(1)
    data = ImbalancedDataModule(Digits(), batch_size=31, in_memory=False)
    data.setup()
    backbone, finetuning = make(), FineTuning(train_last=last, layer_decay=0.5)
    finetuning.prepare(backbone)
    module = ImbalancedClassifier(
        backbone,
        LinearClassifier(int(backbone.num_features), 10),  # type: ignore[arg-type]
        CrossEntropy(),
        lambda these: torch.optim.SGD(these, lr=0.1),
        num_classes=10,
        class_counts=data.class_counts.tolist(),
        finetuning=finetuning,
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", max_epochs=3,
        limit_train_batches=4, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module, before


QUIET = pytest.mark.filterwarnings("ignore:Found .* in eval mode", "ignore:The 'train_dataloader' does not have many")


@QUIET
@pytest.mark.parametrize("last", [0, 2])
def test_two_ranks_train_as_one_process(last: int) -> None:
    one, before = fitted(Layers, last)
    two, _ = fitted(Layers, last, devices=2)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert torch.equal(one.state_dict()["backbone.layers.1.weight"], before["backbone.layers.1.weight"])


@QUIET
@pytest.mark.parametrize(
    "average", [lambda: StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1), WeightAveraging], ids=["swa", "ema"]
)
def test_weight_averaging_leaves_frozen_parts_alone(average: Callable[[], pl.Callback]) -> None:
    module, before = fitted(lambda: SmallCNN(width=4), 1, average())
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert any("block3" in name for name in changed)
    assert not any("block1" in name or "block2" in name for name in changed)
