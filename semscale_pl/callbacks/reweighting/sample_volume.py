"""Class weights from the sample volumes of the training images: the measure in image space, without a model."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from semscale_pl.callbacks.reweighting.slot import ScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit, check_training_pass, training_images
from semscale_pl.distributed import gather_rows
from semscale_pl.geometry import sample_volumes
from semscale_pl.geometry.samples import resized
from semscale_pl.options import check
from semscale_pl.weighting import WeightingReport


class SampleVolumeReweighting(ScaleReweighting):
    """Weight each class by ``volume^-power``, the volume of its resized pixels; computed once, before training.

    The images are those of the training split under the evaluation transform, its normalization undone. A resumed run
    computes the same volumes again, so that nothing has to be kept in a checkpoint.

    Args:
        image_size: side of the resized images in pixels.
        power: exponent of the volumes.
        floor, max_ratio: see :class:`~semscale_pl.callbacks.reweighting.slot.ScaleReweighting`.
        normalization, start_epoch, ramp_epochs: see :class:`~semscale_pl.callbacks.reweighting.slot.SlotReweighting`.

    Attributes:
        volumes: (C,) sample volumes in bits, NaN for an absent class; None before the fit.

    Raises:
        ValueError: an argument is out of range.

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1.
    """

    def __init__(
        self,
        image_size: int = 16,
        power: float = 1.0,
        floor: float = 0.05,
        max_ratio: float = 100.0,
        normalization: str = "sample",
        start_epoch: float = 0,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(power, floor, max_ratio, start_epoch, ramp_epochs, normalization)
        check(image_size=image_size)
        self.image_size = image_size
        self.volumes: Tensor | None = None

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a datamodule that cannot show all training images."""
        check_training_pass(trainer, type(self).__name__)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute the weights, once, and fill the slot."""
        split = TrainingSplit.of(trainer, pl_module)
        images, labels = self._small_images(trainer, pl_module)
        self.volumes = sample_volumes(images, labels, split.num_classes, self.image_size)
        self._weigh(self.volumes, split.drawn(torch.bincount(labels, minlength=split.num_classes)))
        super().on_fit_start(trainer, pl_module)

    def report(self) -> WeightingReport:
        """Return the volumes, the weights in force, and how many classes the floor and the cap touched."""
        base = super().report()
        values = {} if self.volumes is None else {"volume": self.volumes}
        return WeightingReport({**values, **base.per_class}, base.scalars)

    def _small_images(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Tensor, Tensor]:
        """Resize batch by batch, since all images in full size need not fit into memory."""
        model_input = getattr(trainer.datamodule, "model_input", None)  # type: ignore[attr-defined]
        rows = []
        for images, labels in training_images(trainer, pl_module):
            pixels = images.float()
            if model_input is not None:
                pixels = pixels * model_input.std.to(pixels) + model_input.mean.to(pixels)
            rows.append(gather_rows(resized(pixels, self.image_size), labels))
        images, labels = (torch.cat(part) for part in zip(*rows, strict=True))
        # Take off what rounding left outside of [0, 1], and no more: other pixels are for the measure to refuse.
        inside = images.clamp(0.0, 1.0)
        return torch.where((images - inside).abs() <= 1e-4, inside, images), labels
