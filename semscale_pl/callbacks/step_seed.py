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
        _seed_generators(derive_seed(self.seed, trainer.current_epoch, batch_idx, rank()))


def _seed_generators(seed: int) -> None:
    """Seed the CPU's generator and those of the GPUs in use.

    torch.manual_seed does no more, but for every kind of device that has not been used it keeps the call and where it
    came from, to be made up for later: a millisecond a step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
