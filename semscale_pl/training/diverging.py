"""A training that left the finite numbers, in words: where, what to try, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The training left the finite numbers, so there is nothing to test or to record."""


@contextmanager
def staying_finite(trainer: pl.Trainer, datamodule: Any, run_dir: Path) -> Iterator[None]:
    """Say of a fit inside where it diverged.

    Raises:
        TrainingDiverged: a loss, a feature that enters the pool or a parameter is not finite.
    """
    from semscale_pl.callbacks.recording.finiteness import FinitenessWatch, NonFiniteError
    from semscale_pl.pool import NonFiniteFeaturesError

    skips = any(isinstance(one, FinitenessWatch) and one.skips for one in trainer.callbacks)  # type: ignore[attr-defined]
    try:
        yield
    except NonFiniteError as error:
        raise _diverged(str(error), run_dir, skips) from error
    except NonFiniteFeaturesError as error:
        first = f"class {datamodule.class_names[error.label]!r}"
        if error.index is not None:
            first += f", training image {error.index}"
        at = f"in epoch {trainer.current_epoch + 1}, step {trainer.fit_loop.batch_idx + 1}"
        raise _diverged(
            f"the features that enter the pool are not finite {at}, first of {first}", run_dir, skips
        ) from error
    loss = trainer.callback_metrics.get("train/loss")
    if loss is not None and not bool(loss.isfinite()):
        raise _diverged(f"the mean loss of the last epoch is {float(loss)}", run_dir, skips)


def _diverged(what: str, run_dir: Path, skips: bool) -> TrainingDiverged:
    last = run_dir / "checkpoints" / "last.ckpt"
    skip = "" if skips else "; on_nonfinite=skip passes over single steps"
    kept = f"; {last} is that of the last epoch before" if last.is_file() else ""
    return TrainingDiverged(
        f"Training diverged: {what}. Lower optimizer.lr, set trainer.gradient_clip_val, or look for images with pixels "
        f"that are no numbers{skip}. No record was written{kept}."
    )
