"""A W&B run: ready before training, and closed in the end, with a summary and a table of its classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, WandbLogger

from semscale_pl.config.errors import WrongCallError
from semscale_pl.training.record import Record

# Of WANDB_MODE and of `logger.wandb.mode`; dryrun is an old name of offline.
MODES = ("online", "offline", "disabled", "shared", "dryrun")
_OFFLINE = (
    "or leave out WANDB_MODE (and logger.wandb.mode): the run is then kept here, and `wandb sync` uploads it later"
)


def check_wandb(cfg: DictConfig) -> None:
    """Check, before anything else is done, that a run which is to be online can be.

    In a terminal W&B asks for a key; elsewhere a missing, wrong or unreachable account is an error.

    Raises:
        WrongCallError: W&B cannot be reached or does not let us in, or there is no such mode.
    """
    settings = OmegaConf.select(cfg, "logger.wandb")
    mode = None if settings is None else settings.get("mode")
    if mode is None:
        return
    if mode not in MODES:
        raise WrongCallError(
            f"Expected `logger.wandb.mode` (WANDB_MODE) to be one of {', '.join(MODES)}, but got {mode}."
        )
    if mode in ("online", "shared") and os.environ.get("LOCAL_RANK", "0") == "0":
        import wandb

        with _in_one_line("log in to"):
            wandb.login()


def open_wandb(loggers: Sequence[Logger], cfg: DictConfig) -> None:
    """Open the W&B run of a run that is to be online, so that a refusal comes before training.

    Raises:
        WrongCallError: W&B refuses, such as for an entity or a project that this account may not write to.
    """
    if OmegaConf.select(cfg, "logger.wandb.mode") in ("online", "shared"):
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                with _in_one_line("open a run at"):
                    _ = logger.experiment


@contextmanager
def one_wandb_run() -> Iterator[None]:
    """Close the W&B run that was opened inside, so that the next training of this process gets one of its own.

    A run that was open before stays open: whoever opened it closes it. Without W&B nothing happens.
    """
    mine = _open_run() is None
    try:
        yield
    except BaseException:
        _finish(mine, exit_code=1)
        raise
    _finish(mine, exit_code=0)


def summarize_in_wandb(loggers: Sequence[Logger], record: Record) -> None:
    """Send what the record says of the whole run to every W&B logger."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            header, rows = class_rows(record)
            logger.experiment.summary.update(summary_of(record))
            logger.experiment.log({"classes/result": wandb.Table(columns=[*header], data=[*rows])})


def summary_of(record: Record) -> dict[str, Any]:
    """Return the record's single numbers under names such as ``last/tail`` and ``correlation/S/pearson``."""
    found: dict[str, Any] = {
        f"{epoch}/{name}": value
        for epoch, report in record["results"].items()
        for name, value in (report or {}).items()
        if isinstance(value, int | float)
    }
    for name, methods in (record["correlations"].get("last") or {}).items():
        found |= {f"correlation/{name}/{method}": one["value"] for method, one in methods.items()}
    found |= {f"cost/{name}": value for name, value in (record["cost"].get("peak_memory") or {}).items()}
    found |= {"cost/extra_passes": record["cost"].get("extra_passes")}
    found |= {"cost/seconds": record["cost"]["seconds"], "completed_epochs": record["completed_epochs"]}
    found |= {key: record[key] for key in ("index_hash", "seed", "subset_seed", "train_size")}
    found |= {key: record["provenance"][key] for key in ("commit", "device")}
    return {key: value for key, value in found.items() if value is not None}


def class_rows(record: Record) -> tuple[list[str], list[list[Any]]]:
    """Return header and one row for each class: n, E_n, S', W, S and the last epoch's test accuracy."""
    report = record["results"]["last"]
    columns: dict[str, Sequence[Any]] = {
        "class_index": range(record["num_classes"]),
        "class_name": record["class_names"],
        "n": record["class_counts"],
        "E_n": record["effective_numbers"]["E_n"],
        **record["scales"],
        "accuracy": report["per_class"]["accuracy"] if report else [None] * record["num_classes"],
    }
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise WrongCallError(
            f"Expected to {what} W&B, which WANDB_MODE=online needs, but got: {reason}. Set WANDB_API_KEY or run "
            f"`wandb login` once, check the network and +logger.wandb.entity=NAME, {_OFFLINE}."
        ) from error


def _open_run() -> Any:
    wandb = sys.modules.get("wandb")
    return None if wandb is None else getattr(wandb, "run", None)


def _finish(mine: bool, exit_code: int) -> None:
    run = _open_run()
    if mine and run is not None:
        run.finish(exit_code=exit_code)
