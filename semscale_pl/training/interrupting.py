"""What a signal does to a training: it unwinds at once, ranks and workers end with it, and the signal stays known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl

from semscale_pl.config.stopping import as_ended, hold_on


class EndsBySignal(pl.Callback):
    """Keep Lightning from answering SIGTERM by itself while it trains or tests.

    Its answer is a broadcast to the other ranks from within whatever was going on, possibly another collective call,
    and an exit code of 0. Unwound like Ctrl-C, the first rank ends the others.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        hold_on()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning."""
        hold_on()


@contextmanager
def unwinding() -> Iterator[None]:
    """Pass an interruption on as such: Lightning turns it into an orderly end with exit code 1."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise (as_ended(end) or end.__context__) from end
        raise
