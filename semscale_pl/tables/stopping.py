"""Stop a cell between two epochs where the next one would not end in time, and measure how long its parts take."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from semscale_pl.progress import duration
from semscale_pl.tables.time_limit import OutOfTime, Pace, write_pace


class StopInTime(pl.Callback):
    """Leave a training before an epoch for which the time does not suffice; ``last.ckpt`` has the epoch before.

    It changes no number of the training, so it is no part of a cell's configuration.

    Args:
        folder: of the cell, where its pace is kept.
        stop_at: of ``time.monotonic()``, which all processes of a machine share.
        assigned: of the same clock, when the cell was given to this process.
        expected: the pace of this cell in an earlier call, or that of others.
    """

    def __init__(self, folder: Path, stop_at: float, assigned: float, expected: Pace) -> None:
        self._folder, self._stop_at, self._assigned, self._expected = folder, stop_at, assigned, expected
        self._epochs: deque[float] = deque(maxlen=3)
        self._last: float | None = None
        self._start = expected.start

    def join(self, datamodule: Any, module: Any, trainer: pl.Trainer) -> None:
        """Enter a trainer that has not begun; among several ranks one of them cannot leave alone."""
        if trainer.world_size == 1:
            trainer.callbacks.insert(0, self)  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the epoch before, its checkpoint included, and leave if there is no time for this one."""
        pace = self._measured(trainer)
        is_last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        if time.monotonic() + pace.seconds_to_next(is_last) > self._stop_at:
            rest = f", about {duration(pace.seconds_left)} left of it" if pace.epoch else ""
            raise OutOfTime(f"stopped in time after epoch {pace.completed} of {pace.epochs}{rest}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the last epoch."""
        self._measured(trainer)

    def finished(self) -> None:
        """Measure what followed the last epoch, once the cell has its record."""
        if self._last is not None:
            self._keep(end=time.monotonic() - self._last)

    def _measured(self, trainer: pl.Trainer) -> Pace:
        now = time.monotonic()
        if self._last is None:
            self._start = now - self._assigned
        else:
            self._epochs.append(now - self._last)
        self._last = now
        return self._keep(completed=trainer.current_epoch, epochs=trainer.max_epochs or 0)

    def _keep(self, **changes: Any) -> Pace:
        known = self._expected
        epoch = max(self._epochs) if self._epochs else known.epoch
        # An end that nobody has measured yet: a test and a pass over the training images are less than an epoch.
        end = known.end or epoch
        self._expected = Pace(**{**vars(known), "start": self._start, "epoch": epoch, "end": end, **changes})
        write_pace(self._folder, self._expected)
        return self._expected
