"""Controls of semantic-scale weights: the same run with weights that know less than S, or than the S of this step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.imbalance import (
    CountFit,
    fit_scales_to_counts,
    log_spread,
    passed_around,
    power_weights,
    weigh_scales,
)
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed
from semscale_pl.weighting import StepInputs, WeightingReport

# The controls' scales have been floored before the fit; flooring them again would change their spread.
_NO_FLOOR = 1e-100


class CountMatchedReweighting(SemanticScaleReweighting):
    """Weight each class by what its number of training images predicts of S, and by nothing else of S.

    In every step log S of the classes (floored, see below) is regressed on log n, by least squares with every present
    class counting the same, and the fitted values take the place of S: the weights are a power of n whose exponent is
    that with which S grows with n in this step. What DSB gains beyond this control it gains by knowing more than n.

    Takes the arguments of :class:`SemanticScaleReweighting`. ``floor`` raises S before the logarithm is taken, and not
    again; ``power``, ``max_ratio`` and ``normalization`` come after the fit. n is the datamodule's, or the number of
    rows in the pool where the datamodule does not know it. Where all n are equal, all weights are.

    Attributes:
        substitute: (C,) what stands in the place of S, in its unit; None before there are weights.
    """

    substitute: Tensor | None = None

    def report(self) -> WeightingReport:
        """Return S', W, S, what stands in its place, the weights in force, and what floor and cap touched."""
        base = super().report()
        own = {} if self.substitute is None else {"substitute": self.substitute}
        return WeightingReport({**base.per_class, **own}, base.scalars)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super()._begin(trainer, pl_module)
        self.substitute = None

    def _weigh(self, scales: Tensor, frequencies: Tensor) -> None:
        drawn = torch.where(frequencies > 0, scales, torch.nan)
        fit = fit_scales_to_counts(drawn, training_counts(self, scales), self.floor)
        # The fit is of S over its maximum; in the unit of S, weights without normalization are as large as DSB's.
        largest = drawn.double().nan_to_num(0.0).max()
        self.substitute = self._substituted(fit).exp() * torch.where(largest > 0, largest, 1.0)
        settings = (self.normalization, self.power, _NO_FLOOR, self.max_ratio)
        self.weights, _, self._num_capped = weigh_scales(self.substitute, frequencies.to(scales), *settings)
        self._num_floored = fit.num_floored

    def _substituted(self, fit: CountFit) -> Tensor:
        """Return log S as the control has it, (C,), NaN for an absent class."""
        return fit.fitted


class ShuffledResidualReweighting(CountMatchedReweighting):
    """Weight each class by a scale that depends on n as S does and has S's residuals, but those of other classes.

    To the fitted values of :class:`CountMatchedReweighting` come the residuals of that fit, handed on from class to
    class around a ring that the seed draws and that stays the same through the run: no class keeps its own (absent
    classes are passed over). The spread about the fit is that of S; which class has which residual means nothing.

    Args:
        seed: of the ring.
        options: of :class:`SemanticScaleReweighting`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        check(seed=seed)
        self.seed = seed
        self._order: Tensor | None = None

    def _substituted(self, fit: CountFit) -> Tensor:
        num_classes, device = len(fit.fitted), fit.fitted.device
        if self._order is None or len(self._order) != num_classes:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, num_classes))
            self._order = torch.randperm(num_classes, generator=generator)
        self._order = self._order.to(device)
        return fit.fitted + passed_around(fit.residuals, ~fit.residuals.isnan(), self._order)


class FrozenScaleReweighting(SemanticScaleReweighting):
    """Weight each class by the S that the pool has at the beginning of one epoch, and keep that S.

    Until then, weights that are in force follow the pool in every step, as they do in epoch 0, at whose beginning
    the pool is empty: there S is that of the beginning of epoch 1. Afterwards nothing enters the pool any more. On
    features that never change this is DSB itself.

    Args:
        scale_epoch: epoch at whose beginning S is taken, counted from 0; None for ``start_epoch``.
        options: of :class:`SemanticScaleReweighting`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, scale_epoch: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        check(scale_epoch=scale_epoch)
        self.scale_epoch = scale_epoch

    @property
    def frozen_from(self) -> float:
        """The epoch from which on S stays as it is."""
        return max(1.0, self.start_epoch if self.scale_epoch is None else self.scale_epoch)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super()._begin(trainer, pl_module)
        limit, trial = trainer.max_epochs, bool(getattr(trainer, "fast_dev_run", False))
        if self.scale_epoch is not None and limit is not None and 0 <= limit <= self.scale_epoch and not trial:
            raise MisconfigurationException(
                f"Expected `scale_epoch` to be below `max_epochs`, but got {self.scale_epoch} with {limit} epochs: "
                "the scales would never be kept. Lower `scale_epoch` or train longer."
            )

    def _settles(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        return super()._settles(trainer, pl_module) or self._is_kept()

    def _observe(self, inputs: StepInputs) -> None:
        # An epoch that was resumed in its middle has not been begun.
        if self._settled is None and self.weights is not None and self._is_kept():
            assert self.pool is not None
            self._settled = self._geometry(self.pool)
        super()._observe(inputs)

    def _is_kept(self) -> bool:
        return self._epoch >= self.frozen_from and self.pool is not None and self._steps > 0


class PowerOfCountReweighting(SemanticScaleReweighting):
    """Weight each class by n^-p, n being its number of training images; p may be such that it is as strong as DSB.

    With ``match=none`` this knows the counts alone and keeps no pool; p = 1 and p = 1/2 are inverse and square-root
    inverse frequency. With ``match=semantic_scale`` p is set anew in every step, to where the standard deviation of
    log weights over the present classes equals that of the weights which :class:`SemanticScaleReweighting` with the
    same options would have in this step. No cap is put on the ratio of the weights of n^-p itself.

    Args:
        p: exponent of n, without ``match``.
        match: ``none``, or ``semantic_scale`` for the strength of DSB's weights.
        options: of :class:`SemanticScaleReweighting`; those of the pool and of S have an effect with ``match`` alone.

    Attributes:
        exponent: () the p in force; None before there are weights.

    Raises:
        ValueError: an argument is out of range.

    Reference: Mikolov et al. (NeurIPS 2013) and Mahajan et al. (ECCV 2018) for p = 1/2.
    """

    def __init__(self, p: float = 0.5, match: str = "none", **options: Any) -> None:
        super().__init__(**options)
        check("reweighting", p=p, match=match)
        self.p, self.match = p, match
        self.exponent: Tensor | None = None

    @property
    def is_matched(self) -> bool:
        """Whether p follows the strength of DSB's weights."""
        return self.match != "none"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the epoch; weights of a fixed p are normalized anew, as a sampler may change with it."""
        super().on_train_epoch_start(trainer, pl_module)
        if not self.is_matched and self.strength > 0.0:
            assert self._split is not None
            counts = _known_counts(self._split, "match=none").double()
            self._weigh_by(counts, self._split.drawn(), torch.tensor(self.p, dtype=torch.float64))

    def report(self) -> WeightingReport:
        """Return the weights in force and their exponent; with ``match`` also S', W and S, and what was clipped."""
        base = super().report()
        own = {} if self.exponent is None else {"exponent": float(self.exponent)}
        return WeightingReport(base.per_class, {**base.scalars, **own})

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_matched:
            super()._begin(trainer, pl_module)
        else:
            self._split = TrainingSplit.of(trainer, pl_module, self.num_classes, self.capacity)
            _known_counts(self._split, "match=none")
        self.exponent = None

    def _observe(self, inputs: StepInputs) -> None:
        if self.is_matched:
            super()._observe(inputs)

    def _weigh(self, scales: Tensor, frequencies: Tensor) -> None:
        super()._weigh(scales, frequencies)
        assert self.weights is not None
        counts = training_counts(self, scales)
        present = ~scales.isnan() & (frequencies > 0) & (counts > 0)
        ours, theirs = log_spread(counts, present), log_spread(self.weights, present)
        # Logarithms of equal counts differ by rounding alone: then no exponent makes them spread.
        exponent = torch.where(ours > 1e-9, theirs / ours, 0.0)
        self._weigh_by(torch.where(present, counts, 0.0), frequencies, exponent)

    def _weigh_by(self, counts: Tensor, frequencies: Tensor, exponent: Tensor) -> None:
        self.exponent = exponent
        self.weights = self._normalized(power_weights(counts, exponent.to(counts)), frequencies)


def training_counts(callback: SemanticScaleReweighting, like: Tensor) -> Tensor:
    """Return the number of training images of each class (C,), or of the pool's rows where nobody knows it."""
    split, pool = callback._split, callback.pool
    assert pool is not None
    return (pool.class_counts() if split is None or split.counts is None else split.counts).to(like)


def _known_counts(split: TrainingSplit, option: str) -> Tensor:
    if split.counts is None:
        raise MisconfigurationException(
            f"Expected the datamodule to know `class_counts` for {option}, but found none. Give the datamodule that "
            "attribute."
        )
    return split.counts
