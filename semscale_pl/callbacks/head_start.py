"""The callback that starts a classifier from class means or class names, and keeps a nearest-mean head up to date."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.callbacks.training_data import (
    TrainingSplit,
    check_training_pass,
    feature_batches,
    training_features,
    training_images,
)
from semscale_pl.distributed import gather_rows
from semscale_pl.models.class_means import ClassMeans, NearestClassMean
from semscale_pl.models.gaussian import Fitted, GaussianClassifier

_SAID = {"class_means": "class means", "gaussian": "class moments"}


class HeadStart(pl.Callback):
    """Set the classifier before the first step where it asks for that by its ``init``; for others do nothing.

    ``class_means`` costs one evaluation-mode pass over the training images. A
    :class:`~semscale_pl.models.class_means.NearestClassMean` is set anew after every epoch in which the backbone
    trained, before it is validated, and so ends with the means of the last epoch's features. A
    :class:`~semscale_pl.models.gaussian.GaussianClassifier` is fitted once, in a pass of that kind; of several ranks
    each passes its share of the images and fits the head to the features of all, so that all have the same one. How it
    was fitted is kept in checkpoints.

    Raises:
        MisconfigurationException: several processes have nothing to train and a strategy other than DDP, the training
            images cannot be shown a second time, or the backbone has no text features.

    Reference: Shi et al. (ICML 2024), section 4.3, for both ways to start.
    """

    def __init__(self) -> None:
        self._step = -1
        self._fitted: dict[str, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what could not be done, before training begins."""
        init = _init(pl_module)
        if stage == "fit" and trainer.world_size > 1 and not any(one.requires_grad for one in pl_module.parameters()):
            _leave_unwrapped(trainer)
        if stage == "fit" and init in ("class_means", "gaussian"):
            check_training_pass(trainer, f"a classifier that starts from {_SAID[init]}")
        if stage == "fit" and init == "text" and not hasattr(pl_module.backbone, "text_features"):
            alone = getattr(pl_module.classifier, "trains_nothing", False)
            asked, instead = ("=zero_shot", "=ncm") if alone else (".init=text", ".init=class_means or random")
            raise MisconfigurationException(
                f"Expected a backbone that reads text, such as one of open_clip, for classifier{asked}, but got "
                f"{type(pl_module.backbone).__name__}. Use classifier{instead}."
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the classifier, unless training goes on from a checkpoint, which has it."""
        if trainer.global_step > 0 or trainer.current_epoch > 0:
            self._step = trainer.global_step
            return
        classifier: Any = pl_module.classifier
        if _init(pl_module) == "text":
            classifier.start_from_vectors(_text_vectors(pl_module).to(pl_module.device))
        elif isinstance(classifier, NearestClassMean):
            self._follow(trainer, pl_module)
        elif isinstance(classifier, GaussianClassifier):
            fitted = classifier.fit(feature_batches(trainer, pl_module), _class_sizes(trainer, pl_module))
            self._fitted = {"chosen": fitted.chosen, "tried": fitted.tried}
        elif _init(pl_module) == "class_means":
            classifier.start_from_means(_means(trainer, pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Return how a Gaussian head was fitted, which its weights do not tell."""
        return self._fitted

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take back what :meth:`state_dict` gave, also where no epoch is left to train."""
        self._fitted = dict((checkpoint.get("callbacks") or {}).get(self.state_key) or {})
        classifier: Any = getattr(pl_module, "classifier", None)
        if isinstance(classifier, GaussianClassifier) and self._fitted:
            classifier.fitted = Fitted(classifier.affine(), **self._fitted)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the means of a nearest-mean head to those of the epoch that is validated."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._follow(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the means of a nearest-mean head to those of the epoch that ends, before it is saved."""
        self._follow(trainer, pl_module)

    def _follow(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the means, once a step, and once for all where no step changes the features."""
        stale = self._step < 0 or (_changes(pl_module.backbone) and self._step != trainer.global_step)
        if isinstance(pl_module.classifier, NearestClassMean) and stale:
            pl_module.classifier.set_means(_means(trainer, pl_module))
            self._step = trainer.global_step


def _leave_unwrapped(trainer: pl.Trainer) -> None:
    """Let ranks with nothing to train do without DDP's wrapper, which refuses a module that has no gradients."""
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy):
        raise MisconfigurationException(
            f"Expected trainer.strategy=ddp where nothing trains, neither backbone nor head, but got "
            f"{type(strategy).__name__}. Set it, or trainer.devices=1."
        )
    unwrapped: Any = strategy
    unwrapped.configure_ddp = lambda: None


def _changes(backbone: Any) -> bool:
    """Tell whether training changes the features: by parameters, or by the running statistics of batch norms."""
    follows = any(part.training for part in backbone.modules() if getattr(part, "running_mean", None) is not None)
    return follows or any(parameter.requires_grad for parameter in backbone.parameters())


def _init(pl_module: pl.LightningModule) -> str:
    return str(getattr(getattr(pl_module, "classifier", None), "init", "random"))


def _class_sizes(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Tensor:
    """Return the training samples of each class (C,), counted where the datamodule does not say."""
    split = TrainingSplit.of(trainer, pl_module)
    if split.counts is not None:
        return split.counts
    labels = torch.cat([gather_rows(own)[0] for _, own in training_images(trainer, pl_module)])
    return torch.bincount(labels, minlength=split.num_classes)


def _means(trainer: pl.Trainer, pl_module: pl.LightningModule) -> ClassMeans:
    features, labels = training_features(trainer, pl_module)
    return ClassMeans.of(features, labels, TrainingSplit.of(trainer, pl_module).num_classes)


@torch.no_grad()
def _text_vectors(pl_module: pl.LightningModule) -> Tensor:
    """Return the features of the class names, (C, D)."""
    backbone: Any = pl_module.backbone
    names: Any = pl_module.class_names
    classifier: Any = pl_module.classifier
    vectors: Tensor = backbone.text_features(list(names), classifier.template)
    width = pl_module.num_features
    if vectors.shape[1] != width:
        raise MisconfigurationException(
            f"Expected text features as wide as those of the images, {width}, but got {vectors.shape[1]}. Use "
            "classifier.init=class_means."
        )
    return vectors
