"""Records every epoch class by class: scales, weights and accuracies, to scales.csv and to every logger."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from semscale_pl.callbacks.recording.class_panel import ClassPanel, Values, prepare_axes, send_config, send_panel
from semscale_pl.callbacks.recording.class_pictures import send_history, send_pictures
from semscale_pl.callbacks.recording.csv_log import ResumedCSVLogger
from semscale_pl.callbacks.recording.scale_table import NAME, ScaleTable
from semscale_pl.callbacks.training_data import first_known
from semscale_pl.distributed import world_size
from semscale_pl.options import check
from semscale_pl.weighting import WeightingReport

# Batches whose answers are kept until they are counted together.
_COUNTED_AT_ONCE = 64


class RunRecorder(pl.Callback):
    """Append each epoch's per-class values to ``scales.csv`` and send them to the loggers.

    What the re-weighting in the module's slot reports becomes a column each; the training accuracy is counted over the
    epoch as the model learns (under mixup against the first labels), the validation accuracy is that of an epoch in
    which a validation pass ran. On resume the file is cut back to the epochs before the checkpoint, so that a killed
    and resumed run leaves the same file as an unbroken one.

    Args:
        dirpath: the run folder.
        class_names: C names; taken from the module or the datamodule, else the class numbers.
        pictures_every_n_epochs: draw bars and heat maps after every n-th epoch and the last one, as files under
            ``figures/`` and to the loggers; 0 for none.

    Raises:
        ValueError: ``pictures_every_n_epochs`` is not an integer of at least 0.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        class_names: Sequence[str] | None = None,
        pictures_every_n_epochs: int = 0,
    ) -> None:
        check(pictures_every_n_epochs=pictures_every_n_epochs)
        self.dirpath, self.pictures_every_n_epochs = Path(dirpath), pictures_every_n_epochs
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.table = ScaleTable(self.dirpath / NAME)
        self._hits: Tensor | None = None
        self._answers: list[tuple[np.ndarray, np.ndarray]] = []  # of batches that are not counted yet
        self._validated = False
        self._last_epoch: int | None = None
        self._undrawn: tuple[ClassPanel, int] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remember how many epochs are real: weight averaging adds one that trains nothing."""
        if stage == "fit":
            limit = trainer.max_epochs
            self._last_epoch = limit - 1 if limit is not None and limit > 0 else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut the files back to the epochs that the run already has behind it."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, ResumedCSVLogger):
                    logger.cut_back(trainer.current_epoch)
            self.table.cut_back(trainer.current_epoch, _file_beside(trainer.ckpt_path))
            prepare_axes(trainer.loggers)
            send_config(trainer.loggers, pl_module.hparams.get("config"))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count anew."""
        self._hits, self._validated, self._answers = None, False, []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the rows and the right answers of each class."""
        if not isinstance(outputs, dict) or "logits" not in outputs or "labels" not in outputs:
            return
        logits, labels = outputs["logits"].detach(), outputs["labels"]
        if self._hits is None:
            self._hits = torch.zeros(2, logits.shape[1], dtype=torch.int64, device=logits.device)
        if not _readable(logits):
            _count(self._hits, logits, labels)
            return
        self._answers.append((logits.numpy().argmax(1), labels.numpy()))  # in a fifth of torch's time
        if len(self._answers) == _COUNTED_AT_ONCE:
            self._count_answers()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that this epoch has validation results."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch down, before the checkpoint callbacks save it."""
        epoch = trainer.current_epoch
        if self._last_epoch is not None and epoch > self._last_epoch:
            return
        hits, weighting = self._all_hits(pl_module), getattr(pl_module, "weighting", None)
        report = WeightingReport() if weighting is None else weighting.report()
        self._log_scalars(pl_module, hits, report)
        if not trainer.is_global_zero:
            return
        panel = self._panel(trainer, pl_module, hits, report)
        self.table.append(epoch, panel.names, {"n": panel.counts, **panel.values})
        send_panel(trainer.loggers, panel, epoch, trainer.global_step)
        self._undrawn = (panel, epoch) if self.pictures_every_n_epochs else None
        if self._draws(epoch):
            self._draw(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last epoch also where it came early, by early stopping or a limit of steps; send the history."""
        self._draw(trainer)
        if trainer.is_global_zero:
            send_history(trainer.loggers, self.table, trainer.current_epoch - 1, trainer.global_step)

    def _count_answers(self) -> None:
        """Add the right answers and the rows of each class in the batches that are not counted yet."""
        answers, self._answers = self._answers, []
        if self._hits is None or not answers:
            return
        given, labels = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        for row, classes in zip(self._hits.numpy(), (labels[given == labels], labels), strict=True):
            row += np.bincount(classes, minlength=len(row))

    def _draw(self, trainer: pl.Trainer) -> None:
        if self._undrawn is None:
            return
        (panel, epoch), self._undrawn = self._undrawn, None
        send_pictures(trainer.loggers, self.table, panel, epoch, trainer.global_step, self.dirpath / "figures")

    def _all_hits(self, pl_module: pl.LightningModule) -> Tensor | None:
        """Add up the counts of all ranks; None where no step of any gave some."""
        self._count_answers()
        if world_size() == 1:
            return self._hits
        # A rank without counts joins in: the number of classes, 0 where it is unknown, is that of the others.
        num_classes = torch.tensor(0 if self._hits is None else self._hits.shape[1], device=pl_module.device)
        torch.distributed.all_reduce(num_classes, torch.distributed.ReduceOp.MAX)
        if int(num_classes) == 0:
            return None
        empty = torch.zeros(2, int(num_classes), dtype=torch.int64, device=pl_module.device)
        hits = empty if self._hits is None else self._hits
        torch.distributed.all_reduce(hits)
        return hits

    def _draws(self, epoch: int) -> bool:
        every = self.pictures_every_n_epochs
        return every > 0 and ((epoch + 1) % every == 0 or epoch == self._last_epoch)

    def _log_scalars(self, pl_module: pl.LightningModule, hits: Tensor | None, report: WeightingReport) -> None:
        """Log through Lightning, so that the numbers stand in the loggers' own row of the epoch; equal on all ranks."""
        scalars = {f"weighting/{name}": float(value) for name, value in report.scalars.items()}
        if hits is not None:
            right, seen = hits.double()
            present = seen > 0
            scalars["train/top1"] = float(right.sum() / seen.sum().clamp(min=1))
            scalars["train/balanced_accuracy"] = float((right[present] / seen[present]).mean())
        pl_module.log_dict(scalars, on_step=False, on_epoch=True, sync_dist=world_size() > 1)

    def _panel(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, hits: Tensor | None, report: WeightingReport
    ) -> ClassPanel:
        values: dict[str, Values] = {name: rows.tolist() for name, rows in report.per_class.items()}
        if hits is not None:
            values["train_accuracy"] = (hits[0].double() / hits[1].double()).tolist()
        validation = (getattr(pl_module, "last_val_results", None) or {}) if self._validated else {}
        if "per_class" in validation:
            values["val_accuracy"] = list(validation["per_class"]["accuracy"])
        datamodule = getattr(trainer, "datamodule", None)
        counts = first_known(datamodule, pl_module, name="class_counts")
        num_classes = max([len(column) for column in values.values()], default=getattr(pl_module, "num_classes", 0))
        names = self.class_names or first_known(pl_module, datamodule, name="class_names") or range(num_classes)
        images: list[int | None] = [None] * num_classes if counts is None else [int(count) for count in counts]
        return ClassPanel([str(name) for name in names], images, values)


def _count(hits: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Add a batch's right answers and rows of each class to `hits` (2, C)."""
    right_here = (logits.argmax(dim=1) == labels).long()
    for row, amount in enumerate((right_here, torch.ones_like(right_here))):  # no bincount: it waits for the GPU
        hits[row].scatter_add_(0, labels, amount)


def _readable(values: Tensor) -> bool:
    """Tell whether numpy may read values: on the CPU, where that waits for nothing, and of a type that it has."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def _file_beside(checkpoint: Any) -> Path | None:
    """Return where the run that wrote a checkpoint keeps its scales: ``RUN/checkpoints/last.ckpt``."""
    return Path(checkpoint).resolve().parent.parent / NAME if checkpoint else None
