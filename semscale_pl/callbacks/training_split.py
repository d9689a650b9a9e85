"""What a re-weighting has to know of the training split, and where it learns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor


@dataclass(frozen=True)
class TrainingSplit:
    """The numbers of the final training split.

    Args:
        num_classes: C.
        size: number of images N.
        counts: (C,) images of each class; None where nobody told.
        frequencies: (C,) probability that the sampler draws each class; None where nobody told.
    """

    num_classes: int
    size: int
    counts: Tensor | None = None
    frequencies: Tensor | None = None

    @classmethod
    def of(
        cls, trainer: pl.Trainer, pl_module: pl.LightningModule, num_classes: int | None, capacity: int | None
    ) -> TrainingSplit:
        """Read the numbers from the arguments, then the datamodule, then the module.

        Args:
            trainer: may have a datamodule with ``num_classes``, ``train_size``, ``class_counts``,
                ``class_frequencies``.
            pl_module: may have ``num_classes``.
            num_classes: overrides all of them; None to look it up.
            capacity: overrides the number of images; None to look it up.

        Raises:
            MisconfigurationException: a number is neither given nor found.
        """
        source = getattr(trainer, "datamodule", None)
        found_classes = num_classes or _first(source, pl_module, name="num_classes")
        found_size = capacity or _first(source, name="train_size")
        for name, value in {"num_classes": found_classes, "capacity": found_size}.items():
            if value is None:
                raise MisconfigurationException(
                    f"Expected `{name}` from the callback's arguments or the datamodule, but found it in neither. "
                    f"Pass `{name}=...` to the callback."
                )
        counts = getattr(source, "class_counts", None)
        frequencies = getattr(source, "class_frequencies", None)
        return cls(int(found_classes), int(found_size), _vector(counts), _vector(frequencies))


def _first(*sources: Any, name: str) -> Any:
    return next((value for value in (getattr(source, name, None) for source in sources) if value is not None), None)


def _vector(values: Any) -> Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=torch.float64)
