"""One epoch's values class by class, as a table for the loggers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

Values = Sequence[float | int | None]


@dataclass(frozen=True)
class ClassPanel:
    """One epoch's values of C classes: their training images, and quantities by name; None and NaN are undefined."""

    names: list[str]
    counts: list[int | None]
    values: dict[str, Values] = field(default_factory=dict)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return the header and one row for each class."""
        header = ["class_index", "class_name", "n", *self.values]
        columns = [[_defined(value) for value in column] for column in self.values.values()]
        rows = [list(row) for row in zip(range(len(self.names)), self.names, self.counts, *columns, strict=True)]
        return header, rows


def prepare_axes(loggers: Iterable[Any]) -> None:
    """Let W&B draw what is measured once an epoch over the epoch instead of the step."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.define_metric("epoch")
            for group in ("classes", "train", "val", "weighting"):
                logger.experiment.define_metric(f"{group}/*", step_metric="epoch")


def send_config(loggers: Iterable[Any], config: Mapping[str, Any] | None) -> None:
    """Tell W&B what is run, so that its runs can be grouped and filtered by any setting."""
    for logger in loggers:
        if config and isinstance(logger, WandbLogger):
            logger.log_hyperparams(dict(config))


def send_panel(loggers: Iterable[Any], panel: ClassPanel, epoch: int, step: int) -> None:
    """Send an epoch's values as a table: to W&B as a Table, to TensorBoard as text.

    No series for each class: hundreds of them slow a workspace down and hide the curves. The CSV logger needs nothing
    here: ``scales.csv`` is its table.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _send_to_wandb(logger, panel, epoch, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("classes/table", _markdown(panel), global_step=step)


def _send_to_wandb(logger: WandbLogger, panel: ClassPanel, epoch: int, step: int) -> None:
    import wandb

    header, rows = panel.rows()
    table = wandb.Table(columns=[*header], data=[*rows])
    logger.experiment.log({"classes/table": table, "epoch": epoch, "trainer/global_step": step})


def _markdown(panel: ClassPanel) -> str:
    header, rows = panel.rows()
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(cell: Any) -> str:
    if cell is None:
        return "n/a"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("|", r"\|")


def _defined(value: float | int | None) -> float | int | None:
    return None if value is None or math.isnan(value) else value
