"""Seeds every training step from (seed, epoch, batch, rank), so that a resumed run draws what an unbroken one drew."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from semscale_pl.distributed import rank
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed


class StepSeed(pl.Callback):
    """Make the randomness inside a training step, such as dropout, a function of where in the run the step stands.

    Restoring the generator's state from a checkpoint is not enough for a bitwise resume: Lightning draws from it
    while it rebuilds loaders and iterators.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        check(seed=seed)
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch's generators for this step."""
        torch.manual_seed(derive_seed(self.seed, trainer.current_epoch, batch_idx, rank()))
