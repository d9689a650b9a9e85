"""One pass over the training images outside of training, for re-weightings that have to look at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.distributed import gather_rows


def check_training_pass(trainer: pl.Trainer, asked_by: str) -> None:
    """Refuse a run whose datamodule cannot show the training images a second time.

    Raises:
        MisconfigurationException: there is no datamodule with ``eval_train_dataloader()``.
    """
    source = getattr(trainer, "datamodule", None)
    if not hasattr(source, "eval_train_dataloader"):
        raise MisconfigurationException(
            f"Expected a datamodule with `eval_train_dataloader()` for {asked_by}, but got {type(source).__name__}. "
            "Give the datamodule that method: the training images in order, with the evaluation transform."
        )


def training_images(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's (images, labels) of every batch, on the module's device."""
    for batch in trainer.datamodule.eval_train_dataloader():  # type: ignore[attr-defined]
        yield batch[0].to(pl_module.device), batch[1].to(pl_module.device)


@torch.no_grad()
def training_features(trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Tensor, Tensor]:
    """Pass all training images through the model in evaluation mode.

    Returns:
        Features (N, D) and labels (N,), the rows of all ranks, equal on all of them and in the order of one process.
    """
    rows = []
    with _evaluating(pl_module):
        for images, labels in training_images(trainer, pl_module):
            with trainer.precision_plugin.forward_context():
                features = pl_module.features(trainer.precision_plugin.convert_input(images))  # type: ignore[operator]
            rows.append(gather_rows(features, labels))
    features, labels = (torch.cat(part) for part in zip(*rows, strict=True))
    return features, labels


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode and back, part by part: a part that was frozen in it stays so."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
