"""A progress display of one line: live on a terminal, a few plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

SECONDS_BETWEEN_REFRESHES = 0.1
GROWTH = 1.5
SHOWN = {"train/loss": "loss", "train/balanced_accuracy": "train", "val/balanced_accuracy": "val"}


class ProgressLine(ProgressBar):
    """Show epoch, latest numbers and the time that is left; stands in for Lightning's own bar.

    On a terminal one line is kept up to date. Elsewhere lines are printed at the ends of epochs, further and further
    apart (each at half as much time again as the one before), and at the last epoch, so that a log of a long run stays
    short.

    Args:
        live: True for the terminal's line, False for plain lines, None to find out.
    """

    def __init__(self, live: bool | None = None) -> None:
        super().__init__()
        self.live = live
        self._enabled = True
        self._bar: Any = None
        self._task: Any = None
        self._started = self._refreshed = 0.0
        self._next_line = 0.0
        self._first_epoch = 0
        self._metrics: dict[str, Any] = {}

    def disable(self) -> None:
        """Show nothing; Lightning asks for it on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock and, on a terminal, the line."""
        self._started, self._refreshed, self._next_line = time.monotonic(), 0.0, 0.0
        self._first_epoch = trainer.current_epoch
        live = sys.stderr.isatty() if self.live is None else self.live
        if self._enabled and live:
            self._open(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the line, at most ten times a second."""
        now = time.monotonic()
        if self._bar is not None and now - self._refreshed >= SECONDS_BETWEEN_REFRESHES:
            self._refreshed = now
            self._move(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the line, or print one where it is time for it."""
        # On every rank: reading a metric of all ranks is a collective call, and only one of them shows it.
        self._metrics = dict(trainer.callback_metrics)
        if self._bar is not None:
            self._move(trainer, int(self._batches(trainer) or 0))
            return
        elapsed = time.monotonic() - self._started
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self._enabled and (last or elapsed >= self._next_line):
            self._next_line = max(elapsed * GROWTH, elapsed + 1.0)
            print(self._line(trainer, elapsed), file=sys.stderr, flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the line."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the line also where a run ends early."""
        self._close()

    def _open(self, trainer: pl.Trainer) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        left = TextColumn("left", style="dim")
        columns = (TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn(), TimeRemainingColumn(), left)
        self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._bar.start()
        self._task = self._bar.add_task(self._describe(trainer), total=self._total(trainer))
        self._move(trainer, 0)

    def _move(self, trainer: pl.Trainer, batches: int) -> None:
        done = trainer.current_epoch * (self._batches(trainer) or 0) + batches
        self._bar.update(self._task, completed=done, description=self._describe(trainer), refresh=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _batches(self, trainer: pl.Trainer) -> float | None:
        count = trainer.num_training_batches
        return count if math.isfinite(count) else None

    def _total(self, trainer: pl.Trainer) -> float | None:
        batches, epochs = self._batches(trainer), trainer.max_epochs
        return batches * epochs if batches and epochs and epochs > 0 else None

    def _describe(self, trainer: pl.Trainer) -> str:
        limit = trainer.max_epochs
        of = f"/{limit}" if limit is not None and limit > 0 else ""
        shown = [f"{label} {float(self._metrics[name]):.3f}" for name, label in SHOWN.items() if name in self._metrics]
        return "  ".join([f"epoch {trainer.current_epoch + 1}{of}", *shown])

    def _line(self, trainer: pl.Trainer, elapsed: float) -> str:
        finished, text = (
            trainer.current_epoch + 1 - self._first_epoch,
            f"{self._describe(trainer)}  {duration(elapsed)}",
        )
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            return text
        return f"{text}, {duration(elapsed / finished * (trainer.max_epochs - trainer.current_epoch - 1))} left"


def duration(seconds: float) -> str:
    """Write a time span in at most two units.

    Example:
        >>> duration(8.4), duration(75), duration(7260)
        ('8 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
