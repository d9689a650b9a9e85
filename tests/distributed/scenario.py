"""Train DSB on long-tailed digits under a given strategy and leave each rank's state in a folder.

Run as a script, as a user would: `python scenario.py STRATEGY PRECISION FOLDER`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import semscale_pl as ss  # before Lightning: it lets torchvision load beside a CPU-only torch

# isort: split
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semscale_pl import distributed
from semscale_pl.data.vision import Digits
from semscale_pl.distributed import rank
from semscale_pl.losses import CrossEntropy
from semscale_pl.models.classifiers import LinearClassifier

BATCH = 31  # each global batch is cut into 16 and 15 rows, the last one into 7 and 6


class Plain(nn.Module):
    """Two layers, no batch statistics."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class KeepState(pl.Callback):
    """Write what a rank ends with, from within that rank."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callback = next(c for c in trainer.callbacks if isinstance(c, ss.SemanticScaleReweighting))
        state = {
            "pool": dict(callback.pool.state_dict()),
            "scales": callback.scales,
            "weights": callback.weights,
            "rows": callback.pool.is_full,
            "steps": trainer.global_step,
            "parameters": {name: value.detach().cpu() for name, value in pl_module.named_parameters()},
        }
        torch.save(state, self.folder / f"rank{rank()}.pt")


def optimizer(parameters: object) -> torch.optim.Optimizer:
    """Plain SGD, whose steps depend on the size of the gradients."""
    return torch.optim.SGD(parameters, lr=0.2, momentum=0.9)  # type: ignore[arg-type]


def main(strategy: str, precision: str, folder: str, pool: str) -> None:
    """Run the scenario."""
    warnings.filterwarnings("ignore")
    if pool == "fifo":  # as beside NCCL, which reaches the devices alone
        distributed._reaches_hosts = lambda: False
    torch.manual_seed(1)
    data = ss.ImbalancedDataModule(Digits(), imbalance="exponential", imbalance_factor=50.0, batch_size=BATCH, seed=2)
    module = ss.ImbalancedClassifier(Plain(), LinearClassifier(16, 10), CrossEntropy(), optimizer, num_classes=10)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1 if strategy == "auto" else 2,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=4,
        callbacks=[ss.SemanticScaleReweighting(start_epoch=1, pool=pool), KeepState(folder)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=data)


if __name__ == "__main__":
    main(*sys.argv[1:])
