"""The limits of a run against the data it has: what leaves no batch is refused before training."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from semscale_pl.config.checks import HOLD_OUT
from semscale_pl.config.errors import WrongCallError


def check_limits(trainer: DictConfig, datamodule: Any) -> None:
    """Refuse shares of the batches that are less than one, and validations that would never come.

    Lightning finds out about the test's after the training.

    Raises:
        WrongCallError: in one line, with the setting to change.
    """
    if trainer.get("fast_dev_run"):
        return
    overfit = trainer.get("overfit_batches", 0.0)
    limits = {name: f"limit_{name}_batches" for name in ("train", "val", "test")}
    if overfit:
        limits |= dict.fromkeys(("train", "val"), "overfit_batches")
    counts = {name: _batches(datamodule, name) for name in limits}
    for name, key in limits.items():
        share, count = trainer.get(key, 1.0), counts[name]
        if count and isinstance(share, float) and int(count * share) < 1:
            raise WrongCallError(
                f"Expected `trainer.{key}` to leave at least one batch, but {share:g} of the {count} batches of the "
                f"{name} part are none. Raise it, or give a number of batches."
            )
    interval, limit = trainer.get("val_check_interval", 1.0), trainer.get(limits["train"], 1.0)
    trained = min(limit, counts["train"]) if isinstance(limit, int) else int(counts["train"] * limit)
    if counts["val"] and isinstance(interval, int) and interval > trained:
        raise WrongCallError(
            f"Expected `trainer.val_check_interval` to be at most the {trained} training batches of an epoch, but got "
            f"{interval}. Lower it, or validate every n-th epoch with trainer.check_val_every_n_epoch=n."
        )


def check_judged(cfg: DictConfig, datamodule: Any) -> None:
    """Refuse a run without a test of which no validation part would say anything either.

    Raises:
        WrongCallError: with the setting that holds one out.
    """
    if not cfg.get("test", True) and not datamodule.has_validation:
        raise WrongCallError(f"Expected a validation part with test=false, but the data has none. {HOLD_OUT}")


def _batches(datamodule: Any, name: str) -> int:
    if name == "val" and not datamodule.has_validation:
        return 0
    return len(getattr(datamodule, f"{name}_dataloader")())
