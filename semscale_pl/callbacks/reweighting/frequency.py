"""Class weights from class counts, in the same slot and under the same settings as the semantic-scale weights."""

from __future__ import annotations

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.imbalance import DEFAULT_BETA, class_balanced_weights, inverse_weights, sqrt_inverse_weights
from semscale_pl.options import check

Scheme = Literal["inverse", "sqrt_inverse", "class_balanced"]


class FrequencyReweighting(SlotReweighting):
    """Weight each class by its number of training images.

    With ``start_epoch=0.8``, four fifths of the epochs, this is the deferred schedule (DRW).

    Args:
        scheme: ``inverse`` 1/n, ``sqrt_inverse`` 1/sqrt(n), ``class_balanced`` (1 - beta)/(1 - beta^n).
        beta: of ``class_balanced``, in [0, 1); 0 gives uniform weights, towards 1 it becomes ``inverse``.
        normalization, start_epoch, ramp_epochs: see :class:`~semscale_pl.callbacks.reweighting.slot.SlotReweighting`.

    Raises:
        ValueError: an argument is out of range.

    Reference: Cui et al. (CVPR 2019), section 4; Cao et al. (NeurIPS 2019), section 3.3 for the deferred schedule.
    """

    def __init__(
        self,
        scheme: Scheme = "inverse",
        beta: float = DEFAULT_BETA,
        normalization: str = "sample",
        start_epoch: float = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(start_epoch, ramp_epochs, normalization)
        check(scheme=scheme, beta=beta)
        self.scheme, self.beta = scheme, beta

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the weights and fill the slot."""
        self._compute(trainer, pl_module)
        super().on_fit_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Normalize anew: a sampler's class frequencies may change with the epoch."""
        super().on_train_epoch_start(trainer, pl_module)
        self._compute(trainer, pl_module)

    def _compute(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        split = TrainingSplit.of(trainer, pl_module)
        if split.counts is None:
            raise MisconfigurationException(
                "Expected the datamodule to know `class_counts`, but found none. Give the datamodule that attribute."
            )
        if self.scheme == "class_balanced":
            raw = class_balanced_weights(split.counts, self.beta)
        else:
            raw = (inverse_weights if self.scheme == "inverse" else sqrt_inverse_weights)(split.counts)
        self.weights = self._normalized(raw, split.drawn())
