"""The training split as a callback sees it: its numbers, and a pass over its images outside of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.distributed import gather_rows


@dataclass(frozen=True)
class TrainingSplit:
    """The numbers of the final training split: its images, those of each class (C,), and the sampler's probabilities.

    The latter two are None where unknown.
    """

    num_classes: int
    size: int
    counts: Tensor | None = None
    frequencies: Tensor | None = None

    @classmethod
    def of(
        cls,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        num_classes: int | None = None,
        capacity: int | None = None,
    ) -> TrainingSplit:
        """Read the numbers from the arguments, then the datamodule, then the module.

        Args:
            trainer: may have a datamodule with ``num_classes``, ``train_size``, ``class_counts``,
                ``class_frequencies``.
            pl_module: may have ``num_classes``.
            num_classes: overrides all of them.
            capacity: overrides the number of images.

        Raises:
            MisconfigurationException: a number is neither given nor found.
        """
        source = getattr(trainer, "datamodule", None)
        found_classes = num_classes or first_known(source, pl_module, name="num_classes")
        found_size = capacity or first_known(source, name="train_size")
        needed = (("num_classes", "num_classes", found_classes), ("capacity", "train_size", found_size))
        for name, attribute, value in needed:
            if value is None:
                raise MisconfigurationException(
                    f"Expected `{name}` from the callback's arguments or the datamodule, but found it in neither. "
                    f"Give the datamodule `{attribute}`, or pass `{name}=...` to a callback that takes it."
                )
        vectors = (getattr(source, name, None) for name in ("class_counts", "class_frequencies"))
        counts, drawn = (None if found is None else torch.as_tensor(found, dtype=torch.float64) for found in vectors)
        return cls(int(found_classes), int(found_size), counts, drawn)

    def to(self, device: torch.device) -> TrainingSplit:
        """Return the split with its vectors on a device."""
        counts, drawn = (None if part is None else part.to(device) for part in (self.counts, self.frequencies))
        return TrainingSplit(self.num_classes, self.size, counts, drawn)

    def drawn(self, counts: Tensor | None = None) -> Tensor:
        """Return how often the sampler draws each class (C,); the counts stand in where the datamodule is silent."""
        known = next((values for values in (self.frequencies, counts, self.counts) if values is not None), None)
        return torch.ones(self.num_classes, dtype=torch.float64) if known is None else known.double()


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode and back, part by part: a part that was frozen in it stays so."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def first_known(*sources: Any, name: str) -> Any:
    """Return the first value of an attribute that is there and not None; None where no source has one."""
    return next((value for value in (getattr(source, name, None) for source in sources) if value is not None), None)


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
    features, labels = (torch.cat(part) for part in zip(*feature_batches(trainer, pl_module), strict=True))
    return features, labels


@torch.no_grad()
def feature_batches(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what :func:`training_features` returns batch by batch, so that memory does not grow with their number."""
    with evaluating(pl_module):
        for images, labels in training_images(trainer, pl_module):
            with trainer.precision_plugin.forward_context():
                features = pl_module.features(trainer.precision_plugin.convert_input(images))  # type: ignore[operator]
            gathered = gather_rows(features, labels)
            yield gathered[0], gathered[1]
