"""One epoch's per-class values on their way to the loggers, as tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from semscale_pl.callbacks.recording.scale_table import ScaleTable, Values
from semscale_pl.figures.style import COLOUR_MAP, MISSING, finite, label_classes, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def class_heatmap(
    values: Any, epochs: Sequence[int], class_names: Sequence[str], quantity: str, *, title: str = ""
) -> Figure:
    """Draw epochs from left to right and classes from top to bottom, the quantity as colour.

    Args:
        values: (E, C); None or NaN is drawn grey.
        epochs: E epoch numbers.
        class_names: C names.
        quantity: name of the values, with their unit.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: the shape of the values does not fit.
    """
    table = finite(values)
    if table.shape != (len(epochs), len(class_names)) or not len(epochs):
        raise ValueError(f"Expected `values` of shape ({len(epochs)}, {len(class_names)}), but got {table.shape}.")
    import matplotlib

    height = min(9.0, max(2.5, 0.2 * len(class_names) + 1.2))
    figure, (ax,) = new_figure(6.0, height)
    ax.grid(False)
    colours = matplotlib.colormaps[COLOUR_MAP].with_extremes(bad=MISSING)
    picture = ax.imshow(np.ma.masked_invalid(table.T), aspect="auto", interpolation="nearest", cmap=colours)
    _label_epochs(ax, epochs)
    label_classes(ax, class_names, axis="y")
    bar = figure.colorbar(picture, ax=ax)
    bar.set_label(quantity, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def _label_epochs(ax: Any, epochs: Sequence[int]) -> None:
    step = max(1, -(-len(epochs) // 10))
    ax.set_xticks(range(0, len(epochs), step), [str(epoch) for epoch in epochs[::step]])
    ax.set_xlabel("epoch", fontsize=9)


EPOCH_GROUPS = ("classes", "train", "val", "weighting")
LABELS = {
    "scale": "semantic scale S' (bits)",
    "interclass": "inter-class weight W",
    "imbalance": "imbalance S",
    "weight": "class weight",
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
}


@dataclass(frozen=True)
class ClassPanel:
    """One epoch's per-class values.

    Args:
        names: C class names.
        counts: (C,) training images; None where unknown.
        values: quantity to its C values; None and NaN are undefined.
    """

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
            for group in EPOCH_GROUPS:
                logger.experiment.define_metric(f"{group}/*", step_metric="epoch")


def send_config(loggers: Iterable[Any], config: Mapping[str, Any] | None) -> None:
    """Tell W&B what is run, so that its runs can be grouped and filtered by any setting.

    Args:
        loggers: those of the trainer.
        config: nested plain values; nothing is sent where there is none.
    """
    for logger in loggers:
        if config and isinstance(logger, WandbLogger):
            logger.log_hyperparams(dict(config))


def send_panel(loggers: Iterable[Any], panel: ClassPanel, epoch: int, step: int) -> None:
    """Send an epoch's values as a table: to W&B as a Table and one series for each class, to TensorBoard as text.

    Args:
        loggers: those of the trainer; the CSV logger needs nothing here, ``scales.csv`` is its table.
        panel: the values.
        epoch: of the values.
        step: optimizer steps so far.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _send_to_wandb(logger, panel, epoch, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("classes/table", _markdown(panel), global_step=step)


def send_pictures(
    loggers: Iterable[Any], table: ScaleTable, panel: ClassPanel, epoch: int, step: int, folder: Path
) -> None:
    """Draw the epoch's bars and the heat map of each quantity so far; keep them as files and send them to the loggers.

    Args:
        loggers: those of the trainer.
        table: the run so far.
        panel: the last epoch.
        epoch: of the panel.
        step: optimizer steps so far.
        folder: for the files, overwritten each time.
    """
    from semscale_pl.figures.style import as_pixels, save_figure

    for name, figure in _pictures(table, panel, epoch):
        save_figure(figure, folder / f"{name}.png")
        pixels = as_pixels(figure)
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                import wandb

                picture = wandb.Image(pixels, caption=f"epoch {epoch}")
                logger.experiment.log({f"classes/{name}": picture, "epoch": epoch, "trainer/global_step": step})
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"classes/{name}", pixels, global_step=step, dataformats="HWC")


def _pictures(table: ScaleTable, panel: ClassPanel, epoch: int) -> Iterable[tuple[str, Figure]]:
    from semscale_pl.figures.per_class import per_class_bars

    panels: dict[str, Sequence[Any]] = {LABELS.get(name, name): values for name, values in panel.values.items()}
    if any(count is not None for count in panel.counts):
        panels = {"images n": panel.counts, **panels}
    if panels:
        yield "bars", per_class_bars(panel.names, panels, title=f"epoch {epoch}", log=("images n",))
    for name in panel.values:
        epochs, history = table.history(name)
        yield f"heatmap_{name}", class_heatmap(history, epochs, panel.names, LABELS.get(name, name))


def _send_to_wandb(logger: WandbLogger, panel: ClassPanel, epoch: int, step: int) -> None:
    import wandb

    header, rows = panel.rows()
    series = {
        f"classes/{quantity}/{name}": value
        for quantity, values in panel.values.items()
        for name, value in zip(panel.names, map(_defined, values), strict=True)
        if value is not None
    }
    content = {"classes/table": wandb.Table(columns=[*header], data=[*rows]), **series}
    logger.experiment.log({**content, "epoch": epoch, "trainer/global_step": step})


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
