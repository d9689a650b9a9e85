"""What a run leaves in Weights & Biases when it ends: its summary, a table of its classes, and a closed run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger

from semscale_pl.training.record import Record


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


def _open_run() -> Any:
    wandb = sys.modules.get("wandb")
    return None if wandb is None else getattr(wandb, "run", None)


def _finish(mine: bool, exit_code: int) -> None:
    run = _open_run()
    if mine and run is not None:
        run.finish(exit_code=exit_code)
