"""The LightningModule of the project: a backbone, a classifier head, a per-sample loss and the slot between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semscale_pl.distributed import gather_rows, global_row_count, world_size
from semscale_pl.losses.base import BatchLoss, PerSampleLoss
from semscale_pl.metrics.embedding_report import FIRST, SEARCHED, EmbeddingReport, not_searched
from semscale_pl.metrics.report import ClassificationReport, Report
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.models.views import Views
from semscale_pl.modules.mixing import Mixing
from semscale_pl.weighting import StepInputs, StepTerms, Weighting, adjusted_logits, mixed_mean, terms_of, weighted_mean

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], Any]
ReportFactory = Callable[..., EmbeddingReport]
LOGGED = ("top1", "balanced_accuracy", "worst_class_accuracy", "bias", "ece")


class Watch(Protocol):
    """Tells, equally on all ranks, whether the values of a training step can be used."""

    def usable(self, *values: Tensor) -> bool:
        """Return False where the step is to be passed over."""


class ImbalancedClassifier(pl.LightningModule):
    """Train a classifier on imbalanced data, with a slot for any re-weighting.

    Args:
        backbone: (B, ...) images to (B, num_features), with the attribute ``num_features``.
        classifier: head with ``features(x)``, its own input (B, num_features), and ``forward(features)`` to (B, C).
        loss: per-sample loss.
        optimizer: called with the parameters; None where the module only evaluates.
        scheduler: called with the optimizer; stepped once an epoch.
        num_classes: C.
        class_counts: (C,) images of each class in training, for the loss and the many/medium/few groups; a datamodule
            replaces them at set-up. Needed here for weight averaging (EMA, SWA).
        class_names: taken from the datamodule where it has them.
        mixing: mixup and CutMix, or None.
        finetuning: what of the backbone is trained, at which rates, once its ``prepare`` has seen the backbone; None
            trains all of it at the head's.
        views: of a test image, whose logits are averaged; None tests the image alone.
        search: makes the report of the evaluated embeddings (the classifier's input), given ``class_names`` and, for
            the validation, ``restarts=0``; None searches nothing. Rows of classes that the head does not have, labelled
            from C on, then count there alone.
        config: plain dict from which the module can be built again; kept in every checkpoint.

    Attributes:
        weighting: the slot; a re-weighting callback fills it in ``on_fit_start`` and empties it again.
        searched_names: of all classes in an evaluation, for messages; taken from the datamodule where it has them.
        gallery: gives a loader of what test images are searched among, or None where that is themselves; taken from the
            datamodule's ``gallery_dataloader``.
        watch: tells whether a step's features, logits and loss can be used; None where all are, as they are.

    Reference: Ma et al. (ICLR 2023), section 4.2.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        loss: PerSampleLoss,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        *,
        num_classes: int,
        class_counts: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        mixing: Mixing | None = None,
        finetuning: FineTuning | None = None,
        views: Views | None = None,
        search: ReportFactory | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config or {}}, logger=False)
        self.backbone, self.classifier, self.loss = backbone, classifier, loss
        self.num_classes, self.class_counts, self.class_names = num_classes, class_counts, class_names
        self.mixing, self.finetuning = mixing, finetuning or FineTuning()
        self.views, self.search = views, search
        self.weighting: Weighting | None = None
        self.watch: Watch | None = None
        self._optimizer, self._scheduler = optimizer, scheduler
        self._updates_loss = type(loss).update is not PerSampleLoss.update
        self.last_val_results: Report | None = None
        self.last_test_results: Report | None = None
        self.searched_names: list[str] | None = None
        self.gallery: Callable[[], Any] | None = None
        bias = loss.initial_bias(num_classes)
        if bias is not None and hasattr(classifier, "start_bias"):
            classifier.start_bias(bias)  # type: ignore[operator]
        if class_counts is not None:
            # Before any set-up: weight averaging copies the module there and expects the same buffers ever after.
            loss.setup(torch.as_tensor(class_counts))
        self._make_reports()

    @property
    def num_features(self) -> int:
        """Width of the classifier's input."""
        return int(self.backbone.num_features)  # type: ignore[arg-type]

    @property
    def judged_by(self) -> str:
        """Name of the result that selects an epoch and that a run is judged by."""
        return "balanced_accuracy" if self.search is None else FIRST

    @property
    def has_fixed_features(self) -> bool:
        """Whether the classifier's input for a sample stays the same, whatever is trained."""
        fixed = getattr(self.backbone, "is_constant", False) and getattr(self.classifier, "has_fixed_features", False)
        return bool(fixed)

    def features(self, images: Tensor) -> Tensor:
        """Return the classifier's input (B, num_features): what the pool stores."""
        return self.classifier.features(self.backbone(images))  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.classifier(self.features(images))

    def scores(self, images: Tensor) -> Tensor:
        """Return the logits (B, C) of evaluation."""
        return self.loss.evaluation_logits(self(images))

    def train(self, mode: bool = True) -> ImbalancedClassifier:
        """Switch to training mode, in which frozen parts of the backbone stay in evaluation mode, or to evaluation."""
        super().train(mode)
        if mode:
            self.finetuning.settle(self.backbone)
        return self

    def setup(self, stage: str) -> None:
        """Take class names, counts and, before training, sampling frequencies from the datamodule."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            return
        counts = getattr(datamodule, "class_counts", None)
        if counts is not None:
            self.class_counts = [int(count) for count in counts]
        self.class_names = getattr(datamodule, "class_names", self.class_names)
        self.searched_names = getattr(datamodule, "test_class_names", None)
        self.gallery = getattr(datamodule, "gallery_dataloader", None)
        if stage == "fit" or self.loss.class_frequencies is None:
            # Otherwise the loss has those of its training, which a progressive sampler does not repeat in a test.
            self._set_up_loss()
        self._make_reports()

    def search_in(self, class_names: list[str], gallery: Callable[[], Any] | None = None) -> None:
        """Take the names of all classes in an evaluation, and its gallery, where no datamodule brings them."""
        self.searched_names, self.gallery = class_names, gallery
        self._make_reports()

    def on_train_epoch_start(self) -> None:
        """Give the loss the class frequencies, which a progressive sampler changes with the epoch."""
        self._set_up_loss()

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of a batch of (images, labels, indices), with the logits for the recorder.

        The indices, each image's position in the training split, may be left out where nothing asks for them. A
        batch that ``watch`` refuses has a loss without gradient and no logits.
        """
        images, labels, *indices = batch
        inputs, logits = self._observe(images, labels, indices[0] if indices else None, batch_idx)
        if not self._usable(inputs.features, inputs.logits):
            return {"loss": self._no_loss()}
        terms = terms_of(self.weighting, inputs)
        num_rows = global_row_count(logits)
        loss = self._reduce(adjusted_logits(logits, terms, inputs.labels), inputs, terms, num_rows)
        penalty = self.classifier.penalty()  # type: ignore[operator]
        if penalty is not None:
            loss = loss + penalty
        if not self._usable(loss.detach()):
            return {"loss": self._no_loss()}
        if not loss.requires_grad:  # nothing trains, such as class means on a frozen backbone
            loss.requires_grad_()
        # All ranks' rows: the loss is a rank's share of the global mean, whatever its own number of rows.
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=num_rows, sync_dist=self._ranks())
        return {"loss": loss, "logits": inputs.logits, "labels": inputs.labels}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let a loss that keeps state see the batch, all ranks' rows of it."""
        if self._updates_loss and "logits" in outputs:
            self.loss.update(*gather_rows(outputs["logits"], outputs["labels"]))

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Add a batch to the validation report."""
        if self.val_search is None:
            self.val_report.update(self.scores(batch[0]), batch[1])
        else:
            self._add_searched(self.val_report, self.val_search, *batch[:2])

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Add a batch to the test report."""
        if self.test_search is None:
            logits = self.scores(batch[0]) if self.views is None else self.views.average(self.scores, batch[0])
            self.test_report.update(logits, batch[1])
        else:
            self._add_searched(self.test_report, self.test_search, *batch[:2])

    def on_validation_epoch_end(self) -> None:
        """Compute, log and keep the validation report."""
        self.last_val_results = self._finish(self.val_report, self.val_search, "val")

    def on_test_epoch_end(self) -> None:
        """Compute, log and keep the test report."""
        self.last_test_results = self._finish(self.test_report, self.test_search, "test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the class names, so that a checkpoint predicts without the training data."""
        names = self.class_names if self.class_names is not None else range(self.num_classes)
        checkpoint["class_names"] = [str(name) for name in names]

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, where one is asked for, the per-epoch scheduler.

        Where the loss sets the head's first bias (sigmoid losses), weight decay leaves that bias alone: it would pull
        every class back to a probability of 1/2 (Cui et al. 2019, section 4.3). What is frozen is left out.
        """
        if self._optimizer is None:
            raise ValueError("Expected an `optimizer` for training, but got None. Pass a callable of the parameters.")
        if not any(parameter.requires_grad for parameter in self.parameters()):
            return None
        optimizer = self._optimizer(self._parameter_groups())
        self.finetuning.set_rates(optimizer)
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": "epoch"}}

    def _parameter_groups(self) -> Any:
        spares = self.loss.initial_bias(self.num_classes) is not None and hasattr(self.classifier, "offsets")
        spared = self.classifier.offsets() if spares else []  # type: ignore[operator]
        own = self.finetuning.has_rates
        trained = (self.classifier if own else self).parameters()
        rest = [one for one in trained if one.requires_grad and not any(one is other for other in spared)]
        if not own and not spared:
            return rest
        head: list[dict[str, Any]] = [
            {"params": rest, "name": "head"},
            {"params": spared, "name": "offsets", "weight_decay": 0.0},
        ]
        return [*(self.finetuning.groups(self.backbone) if own else ()), *(group for group in head if group["params"])]

    def _observe(
        self, images: Tensor, labels: Tensor, indices: Tensor | None, batch_idx: int
    ) -> tuple[StepInputs, Tensor]:
        mixing, step = self.mixing, (self.current_epoch, batch_idx)
        mixed = None if mixing is None else mixing(images, labels, indices, *step)
        features = self.features(images if mixed is None else mixed.images)
        logits = self.classifier(features)
        seen = (features.detach(), logits.detach(), labels, indices)
        if mixed is None:
            return StepInputs(*seen), logits
        return StepInputs(*seen, mixed.labels, mixed.lam, mixed.indices, images), logits

    def _reduce(self, logits: Tensor, inputs: StepInputs, terms: StepTerms, num_rows: int) -> Tensor:
        if isinstance(self.loss, BatchLoss):
            return _reduce_batch(self.loss, logits, inputs, terms)
        first = self.loss(logits, inputs.labels)
        if inputs.mixed_labels is None:
            return weighted_mean(first, inputs.labels, terms, num_rows)
        return mixed_mean(first, self.loss(logits, inputs.mixed_labels), inputs, terms, num_rows)

    def _usable(self, *values: Tensor) -> bool:
        return self.watch is None or self.watch.usable(*values)

    def _no_loss(self) -> Tensor:
        """Return 0 with a gradient of 0 for every parameter: under DDP all ranks wait for all gradients."""
        return torch.stack([(0.0 * one).sum() for one in self.parameters() if one.requires_grad]).sum()

    def _set_up_loss(self) -> None:
        name = "class_counts" if getattr(self.loss, "from_counts", False) else "class_frequencies"
        frequencies = getattr(getattr(self.trainer, "datamodule", None), name, None)
        if frequencies is not None:
            self.loss.setup(frequencies)

    def _make_reports(self) -> None:
        names = None if self.class_names is None else list(self.class_names)
        self.val_report, self.test_report = (
            ClassificationReport(self.num_classes, self.class_counts, names).to(self.device) for _ in range(2)
        )
        self.val_search: EmbeddingReport | None = None
        self.test_search: EmbeddingReport | None = None
        if self.search is not None:
            # k-means once, when the training has ended.
            self.val_search = self.search(class_names=self.searched_names, restarts=0).to(self.device)
            self.test_search = self.search(class_names=self.searched_names).to(self.device)

    def _add_searched(
        self, report: ClassificationReport, search: EmbeddingReport, images: Tensor, labels: Tensor
    ) -> None:
        features, known = self.features(images), labels < self.num_classes
        search.update(features, labels)
        report.update(self.loss.evaluation_logits(self.classifier(features[known])), labels[known])

    def _add_gallery(self, search: EmbeddingReport) -> None:
        """Embed this rank's share of the gallery that the test images are searched among, where it is not they."""
        loader = None if self.gallery is None else self.gallery()
        for batch in () if loader is None else loader:
            images, labels, *_ = self.trainer.strategy.batch_to_device(
                self.trainer.precision_plugin.convert_input(batch)
            )
            with self.trainer.precision_plugin.forward_context():
                search.add_gallery(self.features(images), labels)

    def _finish(self, report: ClassificationReport, search: EmbeddingReport | None, stage: str) -> Report:
        results, logged = report.compute(), list(LOGGED)
        report.reset()
        if search is not None:
            # Lightning's first look and limits leave images out, which others are looked for among.
            whole = self._is_whole(stage)
            if whole and stage == "test":
                self._add_gallery(search)
            results |= search.compute() if whole else not_searched()
            search.reset()
            logged += SEARCHED
        found = {name: results[name] for name in logged}  # type: ignore[literal-required]
        scalars = {f"{stage}/{name}": float(value) for name, value in found.items() if value is not None}
        self.log_dict(scalars, sync_dist=self._ranks())
        return results

    def _is_whole(self, stage: str) -> bool:
        limit = getattr(self.trainer, f"limit_{stage}_batches")
        return not self.trainer.sanity_checking and isinstance(limit, float) and limit == 1.0

    @staticmethod
    def _ranks() -> bool:
        return world_size() > 1


def _reduce_batch(loss: BatchLoss, logits: Tensor, inputs: StepInputs, terms: StepTerms) -> Tensor:
    """Return the loss of a batch whose elements are not samples.

    Raises:
        ValueError: images were mixed, or the samples have weights of their own.
    """
    unfit = "mixed images" if inputs.mixed_labels is not None else "weights of samples"
    if inputs.mixed_labels is not None or terms.sample_weights is not None:
        raise ValueError(
            f"Expected weights of classes alone for {type(loss).__name__}, whose elements are not samples, but got "
            f"{unfit}. Leave them out, or use another loss."
        )
    return loss.batch_loss(logits, inputs.labels, terms.class_weights)
