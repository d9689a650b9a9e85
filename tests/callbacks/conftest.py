"""A small long-tailed set of real digits and a network without batch statistics to train on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from semscale_pl.callbacks.step_seed import StepSeed
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.vision import Digits
from semscale_pl.losses import CrossEntropy
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.modules.classifier import ImbalancedClassifier


class Flat(nn.Module):
    """Digits to 16 features."""

    num_features = 16

    def __init__(self, width: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_features = width
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Dropout(dropout))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


@pytest.fixture
def digits() -> Callable[..., ImbalancedDataModule]:
    def build(**options: Any) -> ImbalancedDataModule:
        settings = {"imbalance": "exponential", "imbalance_factor": 50.0, "batch_size": 32, "seed": 3, **options}
        return ImbalancedDataModule(Digits(), **settings)

    return build


@pytest.fixture
def classifier() -> Callable[..., ImbalancedClassifier]:
    def build(width: int = 16, dropout: float = 0.0, **options: Any) -> ImbalancedClassifier:
        torch.manual_seed(11)
        head = LinearClassifier(width, 10)
        settings = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9), **options}
        loss = settings.pop("loss", None) or CrossEntropy()
        return ImbalancedClassifier(Flat(width, dropout), head, loss, num_classes=10, **settings)

    return build


@pytest.fixture
def trainer(tmp_path: Any) -> Callable[..., pl.Trainer]:
    def build(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
        settings = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": str(tmp_path),
            **options,
        }
        return pl.Trainer(callbacks=list(callbacks), **settings)

    return build


@pytest.fixture
def resumed_like_unbroken(
    digits: Callable[..., ImbalancedDataModule],
    classifier: Callable[..., ImbalancedClassifier],
    trainer: Callable[..., pl.Trainer],
    tmp_path: Path,
) -> Callable[..., tuple[Any, Any]]:
    """Train four epochs at once, and two that are resumed for two more; the parameters must be the same bit by bit."""

    def run(
        folder: str, callback: pl.Callback, epochs: int, start_from: Path | None, dropout: float, **data: Any
    ) -> ImbalancedClassifier:
        keep = ModelCheckpoint(tmp_path / folder, save_last=True, save_on_train_epoch_end=True)
        module = classifier(dropout=dropout)
        loop = trainer(callback, StepSeed(5), keep, max_epochs=epochs, enable_checkpointing=True)
        loop.fit(module, datamodule=digits(**data), ckpt_path=start_from, weights_only=True)
        return module

    def compare(make: Callable[[], pl.Callback], dropout: float = 0.3, **data: Any) -> tuple[Any, Any]:
        whole, part, rest = make(), make(), make()
        unbroken = run("whole", whole, 4, None, dropout, **data)
        run("part", part, 2, None, dropout, **data)
        resumed = run("rest", rest, 4, tmp_path / "part" / "last.ckpt", dropout, **data)
        for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)
        return whole, rest

    return compare
