"""Class weights from how difficult each class is for the model on held-out images (CDB)."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.metrics.accuracy import model_bias
from semscale_pl.options import check
from semscale_pl.weighting import WeightingReport


class DifficultyReweighting(SlotReweighting):
    """Weight each class by ``d^tau``, d = 1 - A being its difficulty on the validation part.

    The accuracies A are those of the latest validation; their weights are in force from the next epoch on. Until the
    first validation every class counts as difficult (d = 1). As in the published method, a class without a mistake
    has weight 0 until it makes one; where no class makes any, all weights are 1. A class without validation images
    gets the mean weight.

    Args:
        tau: exponent, at least 0; ``dynamic`` for ``2 sigmoid(max(0, max A / (min A + 0.01) - 1))``, which moves from 1
            towards 2 as the classes drift apart.
        normalization, start_epoch, ramp_epochs: see :class:`~semscale_pl.callbacks.reweighting.slot.SlotReweighting`.

    Attributes:
        accuracies: (C,) class accuracies of the latest validation, NaN for a class without images; None before it.

    Raises:
        ValueError: an argument is out of range.

    Reference: Sinha et al. (ACCV 2020), section 3; Ma et al. (ICLR 2023), appendix H2.
    """

    def __init__(
        self,
        tau: float | Literal["dynamic"] = "dynamic",
        normalization: str = "sample",
        start_epoch: float = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(start_epoch, ramp_epochs, normalization)
        check("reweighting", tau=tau)
        self.tau: float | str = tau
        self.accuracies: Tensor | None = None

    @property
    def exponent(self) -> float:
        """The tau that the latest accuracies call for."""
        if isinstance(self.tau, int | float):
            return float(self.tau)
        bias = 0.0 if self.accuracies is None else model_bias(self.accuracies) or 0.0
        return 2.0 / (1.0 + math.exp(-bias))

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a run without held-out images, and begin anew."""
        source = getattr(trainer, "datamodule", None)
        if not (trainer.enable_validation and getattr(source, "has_validation", True)):
            raise MisconfigurationException(
                "Expected a validation part to measure the classes' difficulty on, but got none. "
                "Hold one out with dataset.validation_per_class or dataset.validation_fraction."
            )
        if not hasattr(pl_module, "last_val_results"):
            raise MisconfigurationException(
                "Expected the LightningModule to keep `last_val_results` with the accuracy of each class, but "
                f"{type(pl_module).__name__} does not."
            )
        every, limit = trainer.check_val_every_n_epoch, trainer.max_epochs
        if every is not None and limit is not None and every > 1 and 0 < limit <= every:
            raise MisconfigurationException(
                f"Expected `check_val_every_n_epoch` to be below `max_epochs`, but got {every} with {limit} epochs: "
                "the weights that follow from a validation would never be used. Validate more often or train longer."
            )
        self.accuracies = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fill the slot, with equal weights or those of the checkpoint."""
        if self.weights is None:
            self.weights = torch.ones(TrainingSplit.of(trainer, pl_module).num_classes, dtype=torch.float64)
        super().on_fit_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Turn the latest accuracies into this epoch's weights."""
        super().on_train_epoch_start(trainer, pl_module)
        if self.accuracies is None:
            return
        frequencies = TrainingSplit.of(trainer, pl_module).drawn()
        raw = (1.0 - self.accuracies).pow(self.exponent)
        if not bool(((raw > 0) & (frequencies > 0)).any()):
            raw = torch.ones_like(raw)
        self.weights = self._normalized(raw, frequencies)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the accuracies of a validation within a fit; the module's report is equal on all ranks.

        Raises:
            MisconfigurationException: the module has none, so that all weights would stay 1.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        results = getattr(pl_module, "last_val_results", None)
        if results is None:
            raise MisconfigurationException(
                f"Expected {type(pl_module).__name__} to have set `last_val_results` in its validation, but got None. "
                "Set it to the results of a ClassificationReport in on_validation_epoch_end."
            )
        values = [math.nan if value is None else value for value in results["per_class"]["accuracy"]]
        self.accuracies = torch.tensor(values, dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        """Return the accuracies and the weights in force."""
        state = {"accuracies": self.accuracies, "weights": self.weights}
        return {name: value for name, value in state.items() if value is not None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""
        self.accuracies, self.weights = state_dict.get("accuracies"), state_dict.get("weights")

    def report(self) -> WeightingReport:
        """Return the difficulty after the latest validation, the weights in force, tau, and how many weights are 0."""
        base = super().report()
        scalars = {**base.scalars, "tau": self.exponent}
        if self.accuracies is None:
            return WeightingReport(base.per_class, scalars)
        scalars["num_perfect"] = float((self.accuracies >= 1.0).sum())
        return WeightingReport({"difficulty": 1.0 - self.accuracies, **base.per_class}, scalars)
