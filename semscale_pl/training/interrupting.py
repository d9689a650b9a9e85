"""What a signal does to a training: it unwinds at once, ranks and workers end with it, and the signal stays known."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytorch_lightning as pl
import torch.distributed as dist

from semscale_pl.config.stopping import as_ended, hold_on, with_last_act

# How long a first rank waits for the others when it leaves early; they have nothing to save.
LEAVE_SECONDS = 10.0
Processes = list["subprocess.Popen[bytes]"]


class EndsBySignal(pl.Callback):
    """Keep Lightning from answering SIGTERM by itself while it trains or tests, and from killing ranks by SIGKILL.

    Its answer is a broadcast to the other ranks from within whatever was going on, possibly another collective call,
    and an exit code of 0. Unwound like Ctrl-C, the first rank ends the others.

    Attributes:
        ranks: the processes of the other ranks, in the first one of a run that ends early.
    """

    def __init__(self) -> None:
        self.ranks: Processes = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        hold_on()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        hold_on()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the other ranks from Lightning, and pass a signal on to them.

        Its watch over them would kill this one, without a word, for another that has ended already. A signal has to
        come before the connection breaks, which they would take for the reason.
        """
        started = _started(trainer)
        self.ranks += started
        started.clear()  # the watch and the launcher look at this very list
        if as_ended(exception) is not None:
            for rank in self.ranks:
                rank.send_signal(signal.SIGTERM)


@contextmanager
def unwinding(trainer: pl.Trainer) -> Iterator[None]:
    """Pass an interruption on as such, which Lightning turns into an exit code of 1, and end with all ranks."""
    try:
        with with_last_act(lambda: _kill(_others(trainer))):
            yield
    except BaseException as error:
        _wait_for(_others(trainer))
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise (as_ended(error) or error.__context__) from error
        raise


def _wait_for(ranks: Processes) -> None:
    """Wait for processes to end, and end those that take too long."""
    end = time.monotonic() + LEAVE_SECONDS
    try:
        if ranks and dist.is_initialized() and dist.get_backend() == "gloo":
            # Otherwise they would wait, within an exchange, for this process. NCCL may itself wait here.
            dist.destroy_process_group()
        with suppress(subprocess.TimeoutExpired):
            for rank in ranks:
                rank.wait(max(0.0, end - time.monotonic()))
    finally:
        _kill(ranks)


def _kill(ranks: Processes) -> None:
    for rank in ranks:
        rank.kill()  # nothing happens to one that is gone


def _others(trainer: pl.Trainer) -> Processes:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    taken = [rank for callback in callbacks if isinstance(callback, EndsBySignal) for rank in callback.ranks]
    return [*taken, *_started(trainer)]


def _started(trainer: pl.Trainer) -> Processes:
    """Return Lightning's own list of the ranks that it has started here."""
    found: Processes = getattr(trainer.strategy.launcher, "procs", [])
    return found
