"""Dynamic semantic-scale-balanced re-weighting: the callback that owns the pool of historical features."""

from __future__ import annotations

from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.callbacks.reweighting.slot import ScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit, evaluating
from semscale_pl.distributed import gather_rows
from semscale_pl.geometry import ClassGeometry, pool_features
from semscale_pl.options import check
from semscale_pl.pool import FeaturePool, full_precision
from semscale_pl.weighting import StepInputs, StepTerms, WeightingReport


class SemanticScaleReweighting(ScaleReweighting):
    """Weight each class by the inverse of its semantic scale imbalance, recomputed in every training step.

    Stage 1 (first epoch) fills the pool, stage 2 keeps it fresh, stage 3 (from ``start_epoch`` on) re-weights with
    ``S^-power``. The weights of a step come from a pool that already holds this step's features. Under DDP every rank
    pushes the features of all ranks, so that pools and weights are equal on all of them.

    Args:
        start_epoch: first epoch with weights, counted from 0 (the paper's n).
        alpha: at least 1; the larger, the less the distances between the classes count (paper, inter-class weight).
        power: exponent of the scales; 1 is the paper's.
        interclass: whether the inter-class weight W enters at all; without it S is S' over its maximum.
        pool: ``indexed`` keeps the newest feature of every image, ``fifo`` is the paper's queue.
        num_features: wider features are averaged down to this many before they enter the pool.
        floor, max_ratio: see :class:`~semscale_pl.callbacks.reweighting.slot.ScaleReweighting`.
        estimator: ``plain`` or ``shrunk`` (OAS) covariance.
        ratio: ``dim`` for the paper's d/m, a float r for r/m.
        feature_norm: ``l2`` divides each feature by its length before it is pooled; ``rms`` measures in units of the
            pool's root-mean-square deviation, which makes the scales independent of the features' size.
        mixed: what enters the pool where images were mixed: the mixed feature under its ``dominant`` label, nothing
            (``skip``), or the feature of the ``clean`` image, at the cost of one more forward pass in evaluation mode
            and the precision of training.
        storage_dtype: of the pool: ``float32``, ``float16`` or ``bfloat16``.
        update_every_n_steps: steps between two computations of the weights; features enter in every step, and a step
            that has to weigh without weights computes them whenever it comes.
        num_classes: taken from the datamodule or the module unless given.
        capacity: number of training images; taken from the datamodule unless given.
        normalization, ramp_epochs: see :class:`~semscale_pl.callbacks.reweighting.slot.SlotReweighting`.

    Attributes:
        pool: the :class:`~semscale_pl.pool.FeaturePool`; None until the width of the features is known.
        scales: (C,) semantic scales S' of the pool in bits, NaN for a class without features.
        weights: (C,) class weights of stage 3.
        stage: 1, 2 or 3.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> callback = SemanticScaleReweighting(start_epoch=5)
        >>> callback.stage
        1

    Reference: Ma et al. (ICLR 2023), section 4 and Algorithm 2.
    """

    def __init__(
        self,
        start_epoch: float = 5,
        alpha: float = 1.0,
        power: float = 1.0,
        interclass: bool = True,
        pool: str = "indexed",
        num_features: int = 64,
        normalization: str = "sample",
        floor: float = 0.05,
        max_ratio: float = 100.0,
        estimator: str = "plain",
        ratio: float | Literal["dim"] = "dim",
        feature_norm: str = "none",
        mixed: str = "dominant",
        storage_dtype: str = "float32",
        update_every_n_steps: int = 1,
        num_classes: int | None = None,
        capacity: int | None = None,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(power, floor, max_ratio, start_epoch, ramp_epochs, normalization)
        check("reweighting", alpha=alpha, interclass=interclass, pool=pool, num_features=num_features, ratio=ratio)
        check("reweighting", estimator=estimator, mixed=mixed, feature_norm=feature_norm, storage_dtype=storage_dtype)
        check("reweighting", update_every_n_steps=update_every_n_steps, num_classes=num_classes, capacity=capacity)
        self.alpha, self.interclass = alpha, interclass
        self.mode, self.num_features, self.storage_dtype = pool, num_features, storage_dtype
        self.estimator, self.ratio, self.feature_norm, self.mixed = estimator, ratio, feature_norm, mixed
        self.update_every_n_steps, self.num_classes, self.capacity = update_every_n_steps, num_classes, capacity
        self.pool: FeaturePool | None = None
        self._split: TrainingSplit | None = None
        self._steps = self._clean_rows = 0
        self._pending_state: dict[str, Tensor] | None = None
        self._settled: ClassGeometry | None = None  # of a full pool whose features never change again

    @property
    def scales(self) -> Tensor | None:
        """(C,) semantic scales S' of the pool, in bits."""
        if self.pool is None:
            return None
        if self._settled is not None:
            return self._settled.scales
        return self.pool.scales(estimator=self.estimator, ratio=self.ratio, unit=self._unit())

    @property
    def extra_passes(self) -> float:
        """Forward passes of clean images (``mixed=clean``) so far, in passes over the training images."""
        return self._clean_rows / self._split.size if self._split is not None else 0.0

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the run and make the pool, in this process and not in the one that built the callback."""
        mixing = getattr(pl_module, "mixing", None)
        if self.mixed == "skip" and mixing is not None and mixing.probability >= 1.0:
            raise MisconfigurationException(
                "Expected some unmixed batches for `mixed=skip`, but every batch is mixed: the pool would stay empty. "
                "Use `mixed=dominant` or `mixed=clean`, or lower the mixing's probability."
            )
        self._split = TrainingSplit.of(trainer, pl_module, self.num_classes, self.capacity)
        self.pool, self._steps, self._clean_rows, self._settled = None, 0, 0, None
        width = getattr(pl_module, "num_features", None)
        if width is not None:
            self._make_pool(int(width))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the pool to the module's device and fill the slot."""
        if self.pool is not None:
            self.pool.to(pl_module.device)
        super().on_fit_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the epoch, and a sampler whose class frequencies change with it."""
        super().on_train_epoch_start(trainer, pl_module)
        split = TrainingSplit.of(trainer, pl_module, self.num_classes, self.capacity)
        # Once an epoch: a copy to the device in each step would wait for it.
        self._split = split.to(pl_module.device)
        if self._settled is None and self._settles(trainer, pl_module):
            assert self.pool is not None
            self._settled = self._geometry(self.pool)
        if self._settled is not None and self.strength > 0.0:
            self._weigh(self._settled.imbalance, self._split.drawn(self._settled.counts))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse an epoch whose features were not all finite, where the steps did not wait for the device to tell."""
        if self.pool is not None:
            self.pool.verify()

    def state_dict(self) -> dict[str, Any]:
        """Return the pool, the weights and the step count: tensors and numbers only."""
        if self.pool is None:
            return {}
        self._count_clipped()
        state: dict[str, Any] = {"pool": dict(self.pool.state_dict()), "steps": self._steps}
        state |= {"clipped": [int(self._num_floored), int(self._num_capped)], "clean_rows": self._clean_rows}
        return state if self.weights is None else {**state, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`; the pool of a module of unknown width waits for its first step."""
        if not state_dict:
            return
        self._steps = int(state_dict["steps"])
        self._num_floored, self._num_capped = state_dict["clipped"]
        self._uncounted = None
        self._clean_rows = int(state_dict.get("clean_rows", 0))
        self.weights = state_dict.get("weights")
        if self.pool is None:
            self._pending_state = state_dict["pool"]
        else:
            self.pool.load_state_dict(state_dict["pool"])

    def report(self) -> WeightingReport:
        """Return S', W, S and the weights in force, and how many classes the floor and the cap touched."""
        base, columns = super().report(), {}
        passes = {"extra_passes": self.extra_passes} if self.mixed == "clean" else {}
        if self.pool is not None:
            found = self._geometry(self.pool)
            columns = {"scale": found.scales, "interclass": found.interclass_weights, "imbalance": found.imbalance}
        return WeightingReport({**columns, **base.per_class}, {**base.scalars, **passes})

    @torch.no_grad()
    def _observe(self, inputs: StepInputs) -> None:
        if self._settled is not None:
            return
        rows, labels, indices = self._rows(inputs)
        with full_precision(rows.device):
            # Also where nothing enters: all ranks make the same calls, whatever their rows are.
            entered = gather_rows(self._reduce(rows), labels, *([] if indices is None else [indices]))
            if self.pool is None:
                self._make_pool(entered[0].shape[1])
            assert self.pool is not None
            num_rows = len(entered[1])
            if num_rows:
                self.pool.push(*entered)
                self._clean_rows += num_rows if self.mixed == "clean" and inputs.mixed_labels is not None else 0
            if self._is_due(num_rows):
                assert self._split is not None
                found = self._geometry(self.pool)
                self._weigh(found.imbalance, self._split.drawn(found.counts))
            self._steps += num_rows > 0

    def _is_due(self, num_rows: int) -> bool:
        """Tell whether to compute weights: every n-th step in which rows entered, and wherever there are none yet."""
        if self.strength == 0.0:
            return False
        if self.weights is None:
            return num_rows > 0 or self._steps > 0
        return num_rows > 0 and self._steps % self.update_every_n_steps == 0

    def _rows(self, inputs: StepInputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Choose what enters the pool: features, labels and, where it has slots for them, indices."""
        features, labels, indices = inputs.features, inputs.labels, inputs.indices
        if inputs.mixed_labels is not None and self.mixed == "skip":
            features, labels, indices = features[:0], labels[:0], None if indices is None else indices[:0]
        elif inputs.mixed_labels is not None and self.mixed == "clean":
            assert self._module is not None
            # The running statistics of the batch norms must not see these images twice.
            with evaluating(self._module):
                features = self._module.features(inputs.images)  # type: ignore[operator]
        elif inputs.mixed_labels is not None and inputs.lam < 0.5 and not self._lacks(inputs.mixed_indices):
            labels, indices = inputs.mixed_labels, inputs.mixed_indices
        if self._lacks(indices):
            raise MisconfigurationException(
                "Expected `indices` in `StepInputs` for a pool with a slot for each training image, but got None. Pass "
                "each sample's position in the training split, or use `pool=fifo`."
            )
        return features, labels, indices if self.mode == "indexed" else None

    def _lacks(self, indices: Tensor | None) -> bool:
        return self.mode == "indexed" and indices is None

    def _reduce(self, features: Tensor) -> Tensor:
        if self.feature_norm == "l2":
            features = torch.nn.functional.normalize(features.float(), dim=1)
        return pool_features(features, self.num_features).to(getattr(torch, self.storage_dtype))

    def _make_pool(self, width: int) -> None:
        assert self._split is not None
        width, dtype = min(width, self.num_features), getattr(torch, self.storage_dtype)
        self.pool = FeaturePool(
            self._split.size, width, self._split.num_classes, self.mode, dtype, fixed_labels=self.mode == "indexed"
        )
        if self._module is not None:
            self.pool.to(self._module.device)
        if self._pending_state is not None:
            self.pool.load_state_dict(self._pending_state)
            self._pending_state = None

    def _unit(self) -> float | Tensor:
        if self.feature_norm != "rms" or self.pool is None:
            return 1.0
        return self.pool.rms_deviation().clamp_min(torch.finfo(torch.float32).tiny)

    def _settles(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Tell whether every slot holds the feature that its sample will always have: pushing it again changes nothing.

        So it is with the features of a store under a head alone, once each has been seen.
        """
        source = getattr(trainer, "datamodule", None)
        never_change = getattr(pl_module, "has_fixed_features", False) and not getattr(source, "varies", True)
        is_mixed = getattr(pl_module, "mixing", None) is not None
        return never_change and not is_mixed and self.mode == "indexed" and self.pool is not None and self.pool.is_full

    def _geometry(self, pool: FeaturePool) -> ClassGeometry:
        if self._settled is not None:
            return self._settled
        alpha = self.alpha if self.interclass else None
        return pool.geometry(alpha, estimator=self.estimator, ratio=self.ratio, unit=self._unit())


class ScalePriorReweighting(SemanticScaleReweighting):
    """Add ``power * log S`` to the logits instead of weighting the losses with ``S^-power``.

    Takes the arguments of :class:`SemanticScaleReweighting`; pool, stages, floor and cap are the same, and the ramp
    scales the prior. The prior is minus the log of the weights, which is ``power * log S`` of the floored scales up to
    a constant that no loss over a softmax sees; so ``normalization`` has no effect on training. It adds to what
    Balanced Softmax or logit adjustment put on the logits themselves.

    Example:
        >>> callback = ScalePriorReweighting(start_epoch=5, power=1.0)
        >>> callback.report().per_class
        {}

    Reference: Ma et al. (ICLR 2023), section 4; Menon et al. (ICLR 2021), section 4, for adjusted logits.
    """

    def report(self) -> WeightingReport:
        """Return S', W, S and the log prior in force, and how many classes the floor and the cap touched."""
        base = super().report()
        values = {name: value for name, value in base.per_class.items() if name != "weight"}
        if self.weights is not None:
            values["log_prior"] = self._log_prior(self.weights)
        return WeightingReport(values, base.scalars)

    def _make_terms(self) -> StepTerms:
        assert self.weights is not None
        return StepTerms(log_prior=self._log_prior(self.weights))

    def _log_prior(self, weights: Tensor) -> Tensor:
        return -self.strength * weights.log()
