"""Stops a training at the first step whose loss is not finite, or passes over such steps and counts them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semscale_pl.distributed import true_everywhere, world_size
from semscale_pl.options import check

# Where a step stands: its epoch and its number in the epoch, counted from 1, and the number of steps of the epoch.
Place = tuple[int, int, Any]


class NonFiniteError(RuntimeError):
    """A training has left the finite numbers; the message says where."""


class FinitenessWatch(pl.Callback):
    """Watch the loss of every training step, and the parameters at the end of every epoch.

    All ranks decide alike, by one number that they reduce in every step: no rank waits for one that has stopped. The
    overflows that a gradient scaler (``16-mixed``) looks for and passes over itself are none of a diverging training.

    Args:
        on_nonfinite: ``raise`` ends the training before its next checkpoint. ``skip`` makes no update from such a step,
            neither of the parameters nor of running statistics, of the pool or of a loss that keeps state; its features
            and gradients have to be finite, too. It waits for the device several times in each step, which ``raise``
            does not, and needs the project's module.

    Attributes:
        skipped: training steps that were passed over.

    Raises:
        NonFiniteError: a loss is not finite under ``raise``, no step of an epoch is under ``skip``, or a parameter is
            not at the end of an epoch.
    """

    def __init__(self, on_nonfinite: str = "raise") -> None:
        check(on_nonfinite=on_nonfinite)
        self.skips, self.skipped = on_nonfinite == "skip", 0
        self._epoch, self._step = 1, 1
        self._steps: Any = 1
        self._pending: deque[tuple[Tensor, Any, Place]] = deque()
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._passed_over = False
        self._kept_of_update = self._kept_of_epoch = 0  # batches

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the module ask."""
        self._pending.clear()
        self._kept_of_update = 0
        if self.skips:
            pl_module.watch = self  # type: ignore[assignment]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the module alone again."""
        if getattr(pl_module, "watch", None) is self:
            pl_module.watch = None  # type: ignore[assignment]
        self._statistics = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the steps of an epoch anew."""
        self._kept_of_epoch = 0
        self._epoch, self._steps = trainer.current_epoch + 1, trainer.num_training_batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep what a forward pass changes."""
        self._step, self._passed_over = batch_idx + 1, False
        if self.skips:
            self._statistics = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]

    def usable(self, *values: Tensor) -> bool:
        """Tell, under ``skip``, whether a step's values are finite on all ranks; where not, undo its forward pass."""
        if bool(_all_finite(values)):
            return True
        for buffer, before in self._statistics:
            buffer.copy_(before)
        self._passed_over = True
        self.skipped += 1
        return False

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the loss under ``raise``, and count what is left of the epoch under ``skip``."""
        if self.skips:
            self._kept_of_update += not self._passed_over
            self._kept_of_epoch += not self._passed_over
            return
        if loss.device.type == "cpu" and world_size() == 1:
            if not math.isfinite(loss.item()):
                self._refuse(False, self._place())
            return
        finite = _all_finite([loss.detach()])
        if finite.device.type != "cuda":
            self._refuse(finite, self._place())
            return
        # The answer is read one step later, when it has long come: a GPU never waits for the host to look at it. Every
        # rank reads that of the same step.
        answer = torch.empty((), dtype=torch.bool, pin_memory=True)
        answer.copy_(finite, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append((answer, event, self._place()))
        if len(self._pending) > 1:
            self._settle()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Make no update, under ``skip``, where no batch of it was usable or its gradient is not finite."""
        if not self.skips:
            return
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        overflow = bool(gradients) and not scaled and not bool(_all_finite(gradients))
        if overflow:
            self.skipped += self._kept_of_update
            self._kept_of_epoch -= self._kept_of_update
        if overflow or self._kept_of_update == 0:
            optimizer.zero_grad(set_to_none=True)  # neither momentum nor weight decay moves what has no gradient
        self._kept_of_update = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Forget what was kept of the step."""
        self._statistics = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what is left to be looked at, before a checkpoint is written."""
        while self._pending:
            self._settle()
        epoch = trainer.current_epoch + 1
        if self.skips and self._kept_of_epoch == 0:
            raise NonFiniteError(f"no step of epoch {epoch} has a finite loss and gradient")
        parameters = list(pl_module.parameters())  # none where class means stand on features of a store
        if parameters and not bool(_all_finite(parameters)):
            raise NonFiniteError(f"parameters of the model are not finite after epoch {epoch}")

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps passed over."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = int(state_dict["skipped"])

    def _place(self) -> Place:
        return self._epoch, self._step, self._steps

    def _settle(self) -> None:
        answer, event, place = self._pending.popleft()
        event.synchronize()
        self._refuse(answer, place)

    def _refuse(self, finite: Tensor | bool, place: Place) -> None:
        if not bool(finite):
            raise NonFiniteError("the loss is not finite in epoch {}, step {} of {}".format(*place))


def skipped_steps(trainer: pl.Trainer) -> int:
    """Return how many training steps the trainer's watch has passed over."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return sum(callback.skipped for callback in callbacks if isinstance(callback, FinitenessWatch))


def _all_finite(values: Iterable[Tensor]) -> Tensor:
    """Tell, in one tensor that is equal on all ranks, whether all values are finite."""
    return true_everywhere(torch.stack([value.isfinite().all() for value in values]).all())
