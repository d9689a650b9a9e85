"""Class weights from the effective area that a class's features cover (AREA), the nearest rival of semantic scales."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn.functional import normalize

from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.callbacks.training_data import TrainingSplit, check_training_pass, training_features
from semscale_pl.geometry import class_centres, pool_features
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed
from semscale_pl.weighting import WeightingReport


def effective_areas(
    features: Tensor, labels: Tensor, num_classes: int, batch_size: int, *, seed: int = 0, bounded: bool = True
) -> Tensor:
    """Sum each class's effective area ``1 / (a^T R a)``, a = 1/n, over random batches.

    R holds the cosines between the n features of the class in a batch, taken from the class centre over all batches;
    so ``a^T R a`` is the squared length of the mean unit vector. A single feature has area 1.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        batch_size: rows of a batch; the result depends on it.
        seed: of the order in which the rows are cut into batches.
        bounded: cut an area to n, that of uncorrelated features, where the cosines cancel out; without it two opposite
            features have an infinite area and their class the weight 0.

    Returns:
        (C,) float64 areas; NaN for an absent class.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
        >>> effective_areas(rows, torch.tensor([0, 0, 1]), 3, batch_size=1)
        tensor([2., 1., nan], dtype=torch.float64)

    Reference: Chen et al. (ICCV 2023), eq. 14.
    """
    centred = features.double() - class_centres(features, labels, num_classes).to(features.device).double()[labels]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    batches = torch.arange(len(labels), device=labels.device) // batch_size
    groups, positions, counts = torch.unique(  # a group: the rows of one class in one batch
        batches * num_classes + labels[order], return_inverse=True, return_counts=True
    )
    means = centred.new_zeros(len(groups), features.shape[1])
    means.index_add_(0, positions, normalize(centred[order], dim=1))
    areas = (means / counts[:, None]).square().sum(dim=1).reciprocal()
    if bounded:
        areas = areas.minimum(counts.double())
    areas = torch.where(counts == 1, 1.0, areas)
    total = areas.new_zeros(num_classes).index_add_(0, groups % num_classes, areas)
    return torch.where(total > 0, total, torch.nan)


class EffectiveAreaReweighting(SlotReweighting):
    """Weight each class by 1 over its effective area, measured anew before each epoch from ``start_epoch`` on.

    Each measurement is a pass over the training images in evaluation mode; the published method makes two, since it
    does not keep the features between taking the centres and the cosines. Under DDP the ranks share the pass.

    Args:
        batch_size: of the batches within which features are compared; the areas depend on it.
        num_features: wider features are averaged down to this many.
        bounded: see :func:`effective_areas`; false is as published.
        seed: of the batches.
        normalization, start_epoch, ramp_epochs: see :class:`~semscale_pl.callbacks.reweighting.slot.SlotReweighting`.
            The published ones: ``class``, 160 of 200, 0.

    Attributes:
        areas: (C,) effective areas of the latest pass, NaN for an absent class; None before it.
        num_passes: extra passes over the training images so far.

    Raises:
        ValueError: an argument is out of range.

    Reference: Chen et al. (ICCV 2023), section 3.
    """

    def __init__(
        self,
        start_epoch: float = 5,
        batch_size: int = 128,
        num_features: int = 64,
        bounded: bool = True,
        normalization: str = "sample",
        ramp_epochs: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(start_epoch, ramp_epochs, normalization)
        check(batch_size=batch_size, num_features=num_features, bounded=bounded, seed=seed)
        self.batch_size, self.num_features, self.bounded, self.seed = batch_size, num_features, bounded, seed
        self.areas: Tensor | None = None
        self.num_passes = 0

    @property
    def extra_passes(self) -> float:
        """Passes over the training images that the areas have cost so far."""
        return float(self.num_passes)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse what cannot give the features of all training images, and begin anew."""
        check_training_pass(trainer, type(self).__name__)
        if not hasattr(pl_module, "features"):
            raise MisconfigurationException(
                f"Expected the LightningModule to have `features(images)`, but {type(pl_module).__name__} has none."
            )
        self.areas, self.num_passes = None, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the areas where this epoch needs them."""
        super().on_train_epoch_start(trainer, pl_module)
        if self.strength == 0.0 or self._averaging():
            return
        split = TrainingSplit.of(trainer, pl_module)
        features, labels = training_features(trainer, pl_module)
        features = pool_features(features, self.num_features)
        options: dict[str, Any] = {"seed": derive_seed(self.seed, trainer.current_epoch), "bounded": self.bounded}
        self.areas = effective_areas(features, labels, split.num_classes, self.batch_size, **options)
        self.num_passes += 1
        counts = torch.bincount(labels, minlength=split.num_classes)
        self.weights = self._normalized(self.areas.reciprocal(), split.drawn(counts))

    def state_dict(self) -> dict[str, Any]:
        """Return areas, weights and the number of passes."""
        state: dict[str, Any] = {"num_passes": self.num_passes}
        return state if self.areas is None else {**state, "areas": self.areas, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""
        self.num_passes = int(state_dict["num_passes"])
        self.areas, self.weights = state_dict.get("areas"), state_dict.get("weights")

    def report(self) -> WeightingReport:
        """Return the areas, the weights in force and the number of extra passes."""
        base = super().report()
        values = {} if self.areas is None else {"area": self.areas}
        return WeightingReport({**values, **base.per_class}, {**base.scalars, "extra_passes": self.extra_passes})
