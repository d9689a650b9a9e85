"""Train with every re-weighting that looks beyond its own rank and leave each rank's weights in a folder.

Run as a script: `python reweighting_scenario.py STRATEGY FOLDER`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import semscale_pl as ss  # before Lightning: it lets torchvision load beside a CPU-only torch

# isort: split
import pytorch_lightning as pl
import torch
from torch import nn

from semscale_pl.callbacks.reweighting.class_geometry import ClassGeometryReweighting
from semscale_pl.callbacks.reweighting.difficulty import DifficultyReweighting
from semscale_pl.callbacks.reweighting.effective_area import EffectiveAreaReweighting
from semscale_pl.callbacks.reweighting.sample_volume import SampleVolumeReweighting
from semscale_pl.callbacks.reweighting.scale_controls import (
    CountMatchedReweighting,
    FrozenScaleReweighting,
    PowerOfCountReweighting,
    ShuffledResidualReweighting,
)
from semscale_pl.callbacks.reweighting.score import ScoreReweighting
from semscale_pl.callbacks.reweighting.semantic_scale import ScalePriorReweighting, SemanticScaleReweighting
from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.data.vision import Digits
from semscale_pl.distributed import rank
from semscale_pl.losses import CrossEntropy
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.modules.mixing import Mixing

BATCH = 31  # each global batch is cut into 16 and 15 rows, the last one into fewer


class Plain(nn.Module):
    """One layer, no batch statistics."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class MixedImages(SemanticScaleReweighting):
    """Trains on mixed images, which the others do not."""


class InStockModule(SemanticScaleReweighting):
    """Works in a module that knows nothing of the slot."""


class Stock(pl.LightningModule):
    """A module as anybody writes one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc, self.criterion = Plain(), nn.Linear(16, 10), nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        loss = self.criterion(self.fc(self.body(batch[0])), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> None:
        """Nothing."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer(self.parameters())


class KeepState(pl.Callback):
    """Write what a rank ends with, from within that rank."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        report = next(c for c in trainer.callbacks if isinstance(c, SlotReweighting)).report()
        parameters = {name: value.detach() for name, value in pl_module.named_parameters()}
        loss = {"loss": trainer.callback_metrics["train/loss"]}
        torch.save({**report.per_class, **parameters, **loss}, f"{self.path}.rank{rank()}.pt")


def optimizer(parameters: object) -> torch.optim.Optimizer:
    """Plain SGD, whose steps depend on the size of the gradients."""
    return torch.optim.SGD(parameters, lr=0.2, momentum=0.9)  # type: ignore[arg-type]


def main(strategy: str, folder: str) -> None:
    """Run one fit for each re-weighting."""
    warnings.filterwarnings("ignore")
    for callback in (
        DifficultyReweighting(),
        ScoreReweighting(),
        EffectiveAreaReweighting(start_epoch=1, batch_size=40),
        SampleVolumeReweighting(),
        ScalePriorReweighting(start_epoch=1),
        MixedImages(start_epoch=1, mixed="clean"),
        InStockModule(start_epoch=0, pool="fifo"),
        ClassGeometryReweighting(start_epoch=1, part="shuffled", form="margins", p=0.25),
        CountMatchedReweighting(start_epoch=1),
        ShuffledResidualReweighting(start_epoch=1, seed=4),
        FrozenScaleReweighting(start_epoch=1),
        PowerOfCountReweighting(start_epoch=1, match="semantic_scale"),
    ):
        torch.manual_seed(1)
        data = ss.ImbalancedDataModule(
            Digits(), imbalance="exponential", imbalance_factor=50.0, batch_size=BATCH, seed=2, validation_per_class=5
        )
        mixing = Mixing(0.4, 1.0, probability=0.5) if isinstance(callback, MixedImages) else None
        stock = isinstance(callback, InStockModule)
        module: pl.LightningModule = (
            Stock()
            if stock
            else ss.ImbalancedClassifier(
                Plain(), LinearClassifier(16, 10), CrossEntropy(), optimizer, num_classes=10, mixing=mixing
            )
        )
        slot = [ss.CriterionSlot("fc")] if stock else []
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1 if strategy == "auto" else 2,
            strategy=strategy,
            precision="64-true",
            max_epochs=3,
            callbacks=[*slot, callback, KeepState(str(Path(folder) / type(callback).__name__))],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data)


if __name__ == "__main__":
    main(*sys.argv[1:])
