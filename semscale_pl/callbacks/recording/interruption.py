"""What cuts a run short: a limit of steps or time in mid-epoch, or settings that leave out a part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from semscale_pl.options import check

LAST, CUT = "last.ckpt", "cut.ckpt"


class Interruption(pl.Callback):
    """Note why a run is not a whole one, and refuse to go on from the middle of an epoch.

    What a limit such as ``limit_train_batches`` left out of training stays left out: a resumed run inherits the notes
    of the run that it resumes. A limit of steps or time only ends this fit; a resumed run trains what was left.

    The limit of steps is kept here: with Lightning's own, a trainer that resumes at the end of an epoch takes that
    epoch for unfinished and counts its steps wrongly.

    Args:
        settings: of training that leave something out, in words such as ``trainer.limit_train_batches=5``.
        of_tests: the same, of settings that only concern the tests of this run.
        max_steps: optimizer steps after which the training ends; -1 for no limit.

    Attributes:
        reasons: all that made this run less than a whole one; empty where nothing did.
        in_middle: whether the training ended in the middle of an epoch.

    Raises:
        MisconfigurationException: the run resumes from a checkpoint that was written in mid-epoch.
    """

    def __init__(self, settings: Sequence[str] = (), of_tests: Sequence[str] = (), max_steps: int = -1) -> None:
        check(max_steps=max_steps)
        self._settings, self._of_tests, self.max_steps = list(settings), list(of_tests), max_steps
        self._limit: str | None = None
        self.in_middle = False

    @property
    def reasons(self) -> list[str]:
        """Why the run is not a whole one."""
        return [*self._settings, *self._of_tests, *([self._limit] if self._limit else [])]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a training that has reached its limit of steps before it resumes."""
        self._stop(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the training at its limit of steps."""
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notice an epoch that ends before its last batch."""
        self.in_middle = in_mid_epoch(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look for the limit that ended the training."""
        whole, limit = trainer.current_epoch - self.in_middle, trainer.max_epochs
        reached = reached_limit(trainer) if limit is None or whole < limit else ""
        where = f"in epoch {whole + 1}" if self.in_middle else f"after epoch {whole}"
        self._limit = f"{reached} {where} of {limit}" if reached else None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint from the middle of an epoch: nothing takes up the rest of its images."""
        loops = checkpoint.get("loops", {}).get("fit_loop", {})
        progress = loops.get("epoch_loop.batch_progress")
        if trainer.state.fn != "fit":
            return  # a test may be of any
        if progress is None or progress["current"]["ready"] == 0 or progress["is_last_batch"]:
            return
        path = Path(str(trainer.ckpt_path))
        last = path.with_name(LAST)
        cure = f"Resume from {last}." if path.name != LAST and last.is_file() else "Train from the start."
        epoch = loops["epoch_progress"]["current"]["ready"]
        raise MisconfigurationException(
            f"Expected `ckpt_path` to be a checkpoint from the end of an epoch, but {path} is from the middle of epoch "
            f"{epoch}, after {progress['current']['ready']} batches: it can be evaluated but not resumed. {cure}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what was left out of training so far."""
        return {"settings": list(self._settings)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the resumed run left out."""
        earlier = [text for text in state_dict["settings"] if text not in self._settings]
        self._settings = [*earlier, *self._settings]

    def _stop(self, trainer: pl.Trainer) -> None:
        if 0 <= self.max_steps <= trainer.global_step:
            trainer.should_stop = True


def interruption_of(trainer: pl.Trainer) -> Interruption:
    """Return the trainer's callback that knows; one that knows of nothing where there is none."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Interruption)), Interruption())


def is_trial(trainer: pl.Trainer) -> bool:
    """Tell whether this is a ``fast_dev_run``."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def in_mid_epoch(trainer: pl.Trainer) -> bool:
    """Tell, at the end of an epoch, whether it ended before its last batch."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return not progress.is_last_batch and progress.current.ready < trainer.num_training_batches


def reached_limit(trainer: pl.Trainer) -> str:
    """Name the limit of steps or time that the training has reached, equally on all ranks; empty if there is none."""
    if is_trial(trainer):
        return ""  # a setting of its own
    most = interruption_of(trainer).max_steps
    if 0 <= most <= trainer.global_step:
        return f"trainer.max_steps={most}"
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    if not (timers and trainer.should_stop):
        return ""
    # The ranks' clocks differ a little; the first one's has stopped them all.
    left = trainer.strategy.broadcast(timers[0].time_remaining())
    return "trainer.max_time" if left is not None and left <= 0 else ""
