"""What the re-weighting callbacks share: the module's slot, the schedule, what is refused, and weights from scales."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.imbalance import normalize_weights, weigh_scales, weights_of_scales
from semscale_pl.options import check
from semscale_pl.weighting import NO_TERMS, StepInputs, StepTerms, WeightingReport


class SlotReweighting(pl.Callback):
    """Fill the slot ``pl_module.weighting`` for the time of a fit.

    The stage depends on the epoch alone: 1 in the first epoch, 2 until ``start_epoch``, 3 (weights in force) from then
    on. With ``ramp_epochs`` the weights move linearly from 1 to their full value over that many epochs.

    Args:
        start_epoch: first epoch with weights, counted from 0; a share of the epochs where it lies between 0 and 1 (0.8
            for the deferred schedule, DRW: the last fifth).
        ramp_epochs: epochs until the weights have their full strength; 0 for at once.
        normalization: ``sample``, ``class`` or ``none``, see :func:`semscale_pl.imbalance.normalize_weights`.

    Attributes:
        weights: (C,) class weights in force, all 1 before ``start_epoch``; None before the fit.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, start_epoch: float = 0, ramp_epochs: int = 0, normalization: str = "sample") -> None:
        check(start_epoch=start_epoch, ramp_epochs=ramp_epochs, normalization=normalization)
        self.start_epoch, self.ramp_epochs, self.normalization = start_epoch, ramp_epochs, normalization
        self._share = start_epoch if 0.0 < start_epoch < 1.0 else None
        self.weights: Tensor | None = None
        self._module: pl.LightningModule | None = None
        self._made: tuple[Tensor | None, float, StepTerms] | None = None
        self._epoch = 0
        self._asked = False
        self._last_epoch: int | None = None

    @property
    def stage(self) -> int:
        """Stage 1, 2 or 3 of the paper's schedule, by the present epoch."""
        if self._epoch >= self.start_epoch:
            return 3
        return 1 if self._epoch == 0 else 2

    @property
    def strength(self) -> float:
        """How much of the weights is in force, in [0, 1]."""
        if self._epoch < self.start_epoch:
            return 0.0
        return min(1.0, (self._epoch - self.start_epoch + 1) / (self.ramp_epochs + 1))

    @property
    def extra_passes(self) -> float:
        """Passes over the training images that the weights have cost besides training."""
        return 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse, before anything runs, what cannot work."""
        if stage == "fit":
            if self._share is not None:
                self.start_epoch = _epoch_at(self._share, trainer.max_epochs)
            self._refuse_impossible(trainer, pl_module)
            # Weight averaging runs one more epoch, for the batch norms alone; it must change nothing here.
            self._last_epoch = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
            self.weights = None
            self._begin(trainer, pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fill the slot; not earlier, since weight averaging copies the module in its set-up."""
        if getattr(pl_module, "weighting", None) is not None:
            raise MisconfigurationException(
                "Expected an empty slot `weighting`, but another re-weighting holds it. Keep one re-weighting a run."
            )
        self._module, self._asked = pl_module, False
        self._epoch = trainer.current_epoch
        if self.weights is not None:
            self.weights = self.weights.to(pl_module.device)
        pl_module.weighting = self  # type: ignore[assignment]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the epoch, which alone decides the stage."""
        self._epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refuse, after the first step, a module that never asks its slot: it would train as without a re-weighting.

        Raises:
            MisconfigurationException: the step did not call what is in the slot.
        """
        skipped = outputs is None or (isinstance(outputs, dict) and not outputs)  # training_step returned None
        if not self._asked and not skipped:
            raise MisconfigurationException(
                f"Expected {type(pl_module).__name__}.training_step to ask the slot, but it did not, so that "
                f"{type(self).__name__} would have no effect. Call `terms_of(self.weighting, StepInputs(...))` there "
                "and reduce the losses with `weighted_mean`."
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take back the slot."""
        if getattr(pl_module, "weighting", None) is self:
            pl_module.weighting = None  # type: ignore[assignment]
        self._module = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take back the slot also where a fit ends early."""
        self.teardown(trainer, pl_module, "fit")

    def __call__(self, inputs: StepInputs) -> StepTerms:
        """Return this step's class weights; none before ``start_epoch``."""
        self._asked = True
        if not self._averaging():
            self._observe(inputs)
        if self.strength == 0.0 or self.weights is None:
            return NO_TERMS
        return self._terms()

    def report(self) -> WeightingReport:
        """Return the weights in force and the stage."""
        scalars = {"stage": float(self.stage), "strength": self.strength}
        return WeightingReport({"weight": self._in_force()} if self.weights is not None else {}, scalars)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what this re-weighting needs of a run, and forget an earlier fit; a checkpoint is read afterwards."""

    def _observe(self, inputs: StepInputs) -> None:
        """Take notice of a training step; fixed weights need none."""

    def _normalized(self, raw: Tensor, frequencies: Tensor) -> Tensor:
        weights = normalize_weights(raw, frequencies.to(raw), self.normalization)
        return weights if self._module is None else weights.to(self._module.device)

    def _terms(self) -> StepTerms:
        """Return the terms of the weights, made anew only where these or their strength are others."""
        weights, strength = self.weights, self.strength
        if self._made is None or self._made[0] is not weights or self._made[1] != strength:
            self._made = (weights, strength, self._make_terms())
        return self._made[2]

    def _make_terms(self) -> StepTerms:
        return StepTerms(class_weights=self._in_force())

    def _in_force(self) -> Tensor:
        assert self.weights is not None
        return 1.0 + self.strength * (self.weights - 1.0)

    def _averaging(self) -> bool:
        return self._last_epoch is not None and self._epoch >= self._last_epoch

    def _refuse_impossible(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not hasattr(pl_module, "weighting"):
            raise MisconfigurationException(
                f"Expected the LightningModule to have the slot `weighting`, but {type(pl_module).__name__} has none. "
                "Put CriterionSlot(layer=NAME) before the re-weighting in the list of callbacks, or set "
                "`self.weighting = None` in its __init__ and ask it in training_step."
            )
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                f"Expected automatic optimization with {type(self).__name__}, but {type(pl_module).__name__} optimizes "
                "manually."
            )
        if sum(isinstance(other, SlotReweighting) for other in getattr(trainer, "callbacks", ())) > 1:
            raise MisconfigurationException("Expected one re-weighting callback, but got several. Keep one a run.")
        limit = trainer.max_epochs
        is_trial = bool(getattr(trainer, "fast_dev_run", False))  # one epoch, whatever `max_epochs` is
        if limit is not None and 0 <= limit <= self.start_epoch and not is_trial:
            raise MisconfigurationException(
                f"Expected `start_epoch` to be below `max_epochs`, but got {self.start_epoch} with {limit} epochs: "
                "the weights would never be used. Lower `start_epoch` or train longer."
            )


class ScaleReweighting(SlotReweighting):
    """Weight each class by ``S^-power`` of a scale S that a subclass measures.

    Args:
        power: exponent of the scales.
        floor: smallest scale, as a share of the largest; decides the weight of a class of one image.
        max_ratio: cap on the largest over the smallest weight.
        start_epoch, ramp_epochs, normalization: see :class:`SlotReweighting`.
    """

    def __init__(
        self, power: float, floor: float, max_ratio: float, start_epoch: float, ramp_epochs: int, normalization: str
    ) -> None:
        super().__init__(start_epoch, ramp_epochs, normalization)
        check("reweighting", power=power, floor=floor, max_ratio=max_ratio)
        self.power, self.floor, self.max_ratio = power, floor, max_ratio
        self._num_floored: Tensor | int = 0
        self._num_capped: Tensor | int = 0
        self._uncounted: tuple[Tensor, Tensor] | None = None  # scales and frequencies of the weights

    def report(self) -> WeightingReport:
        """Return the weights in force, the stage, and how many classes the floor and the cap touched."""
        base = super().report()
        self._count_clipped()
        clipped = {"num_floored": float(self._num_floored), "num_capped": float(self._num_capped)}
        return WeightingReport(base.per_class, {**base.scalars, **clipped})

    def _weigh(self, scales: Tensor, frequencies: Tensor) -> None:
        frequencies = frequencies.to(scales)
        self._uncounted = (scales, frequencies)
        self.weights = weights_of_scales(scales, frequencies, *self._clipping())

    def _count_clipped(self) -> None:
        """Count what floor and cap touched, which no step asks for."""
        if self._uncounted is not None:
            scales, frequencies = self._uncounted
            _, self._num_floored, self._num_capped = weigh_scales(scales, frequencies, *self._clipping())
            self._uncounted = None

    def _clipping(self) -> tuple[str, float, float, float]:
        return (self.normalization, self.power, self.floor, self.max_ratio)


def _epoch_at(share: float, epochs: int | None) -> int:
    """Return the nearest epoch to a share of the training, one of its epochs."""
    if epochs is None or epochs < 1:
        raise MisconfigurationException(
            f"Expected `max_epochs` with a `start_epoch` that is a share of it, {share:g}, but training has no end. "
            "Set `max_epochs`, or `start_epoch` in epochs."
        )
    return min(round(share * epochs), epochs - 1)
