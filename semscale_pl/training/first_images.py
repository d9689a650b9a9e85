"""The first images of a run taken through its transforms and its backbone: what cannot work ends before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.callbacks.training_data import evaluating
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.seeding import seeded


def check_first_images(datamodule: Any, backbone: nn.Module) -> None:
    """Refuse images that the augmentation, the model's input or the backbone cannot take.

    Torch's generator is left as it was, and so is the backbone, which lies on the CPU.

    Raises:
        WrongCallError: in one line, with the setting to change.
    """
    with seeded(0):
        for what, dataset in (("training", datamodule.train_dataset), ("test", datamodule.test_dataset)):
            _check_backbone(backbone, _first(what, dataset))


def _first(what: str, dataset: Any) -> Tensor:
    try:
        return dataset[0][0]
    except (DataError, DatasetNotFound):
        raise
    except Exception as error:  # whatever a foreign dataset or transform raises
        raise WrongCallError(
            f"Expected the first {what} image to become the model's input, but got {type(error).__name__}: {error}. "
            "Check the dataset and `augmentation`."
        ) from error


def _check_backbone(backbone: nn.Module, image: Tensor) -> None:
    try:
        with torch.no_grad(), evaluating(backbone):
            backbone(image[None])
    except ValueError as error:
        raise WrongCallError(
            f"`backbone`: {error} The images' shape is that of dataset.channels and dataset.image_size."
        ) from error
