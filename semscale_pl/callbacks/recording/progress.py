"""The progress of a training: one line that moves on a terminal, a few plain lines in a log."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from semscale_pl.progress import Progress, duration

# Seconds that an epoch has to last before a log gets lines from within it.
LONG_EPOCH = 10.0
# From here on a number, as the loss of a diverging training, is shown with its power of ten.
LARGE = 1e5
SHOWN = {
    "train/loss": "loss", "train/balanced_accuracy": "train", "val/balanced_accuracy": "val", "val/recall_at_1": "R@1",
}  # fmt: skip


class ProgressLine(ProgressBar):
    """Show epoch, latest numbers and the time that is left; stands in for Lightning's own bar.

    On a terminal one line is kept up to date. Elsewhere lines are printed at the ends of epochs, and within epochs that
    take long, further and further apart, and at the last epoch.

    Args:
        live: True for the terminal's line, False for plain lines, None to find out.
    """

    def __init__(self, live: bool | None = None) -> None:
        super().__init__()
        self.live = live
        self._enabled = True
        self._display: Progress | None = None
        self._first_epoch = 0
        self._epoch_began = 0.0
        self._metrics: dict[str, Any] = {}

    def disable(self) -> None:
        """Show nothing; Lightning asks for it on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock and, on a terminal, the line."""
        self._first_epoch = trainer.current_epoch
        if self._enabled:
            self._display = Progress("epoch {}", quiet=0.0, live=self.live, keep=True)
            self._move(trainer, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember when the epoch began."""
        self._epoch_began = 0.0 if self._display is None else self._display.elapsed

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the line, or print one in a long epoch."""
        self._move(trainer, batch_idx + 1)
        display, per_epoch = self._display, _batches(trainer)
        if display is None or display.live or not per_epoch or batch_idx + 1 >= per_epoch:
            return
        if display.elapsed - self._epoch_began >= LONG_EPOCH:
            left = self._left(trainer, trainer.current_epoch + (batch_idx + 1) / per_epoch)
            text = f"{self._describe(trainer)}  batch {batch_idx + 1:,}/{int(per_epoch):,}  {duration(display.elapsed)}"
            display.line(", ".join(filter(None, [text, left])))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the line, or print one where it is time for it."""
        # On every rank: reading a metric of all ranks is a collective call, and only one of them shows it.
        self._metrics = dict(trainer.callback_metrics)
        self._move(trainer, int(_batches(trainer) or 0), always=True)
        if self._display is not None and not self._display.live:
            text = f"{self._describe(trainer)}  {duration(self._display.elapsed)}"
            left = self._left(trainer, trainer.current_epoch + 1)
            self._display.line(", ".join(filter(None, [text, left])), trainer.current_epoch + 1 == trainer.max_epochs)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the line."""
        if self._display is not None:
            self._display.close()
        self._display = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the line also where a run ends early."""
        self.on_train_end(trainer, pl_module)

    def _move(self, trainer: pl.Trainer, batches: int, always: bool = False) -> None:
        if self._display is None or not self._display.live:
            return
        per_epoch, epochs = _batches(trainer), trainer.max_epochs
        done = trainer.current_epoch * (per_epoch or 0) + batches
        total = per_epoch * epochs if per_epoch and epochs and epochs > 0 else None
        left = self._left(trainer, done / per_epoch) if per_epoch else ""
        self._display.move(self._describe(trainer), done, total, left, always)

    def _describe(self, trainer: pl.Trainer) -> str:
        limit = trainer.max_epochs
        of = f"/{limit}" if limit is not None and limit > 0 else ""
        found = {label: float(self._metrics[name]) for name, label in SHOWN.items() if name in self._metrics}
        shown = [f"{label} {value:{'.3f' if abs(value) < LARGE else '.3g'}}" for label, value in found.items()]
        return "  ".join([f"epoch {trainer.current_epoch + 1}{of}", *shown])

    def _left(self, trainer: pl.Trainer, epochs: float) -> str:
        """Say how long the training still takes after so many epochs; nothing where it has no end or just began."""
        done, limit = epochs - self._first_epoch, trainer.max_epochs
        if self._display is None or limit is None or limit < 0 or done <= 0:
            return ""
        return f"{duration(self._display.left(done, limit - self._first_epoch))} left"


def _batches(trainer: pl.Trainer) -> float | None:
    count = trainer.num_training_batches
    return count if math.isfinite(count) else None
