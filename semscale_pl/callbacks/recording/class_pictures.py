"""Values class by class as pictures: an epoch's bars, heat maps over the epochs; and their whole history for W&B."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from semscale_pl.callbacks.recording.class_panel import ClassPanel
from semscale_pl.callbacks.recording.scale_table import FIXED, ScaleTable
from semscale_pl.figures.per_class import per_class_bars
from semscale_pl.figures.style import COLOUR_MAP, MISSING, as_pixels, finite, label_classes, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# W&B cuts larger tables off.
MOST_ROWS = 200_000
LABELS = {
    "scale": "semantic scale S' (bits)",
    "interclass": "inter-class weight W",
    "imbalance": "imbalance S",
    "weight": "class weight",
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
}


def send_pictures(
    loggers: Iterable[Any], table: ScaleTable, panel: ClassPanel, epoch: int, step: int, folder: Path
) -> None:
    """Draw the epoch's bars and the heat map of each quantity so far; keep them as files and send them to the loggers.

    The files in the folder are overwritten each time.
    """
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


def send_history(loggers: Iterable[Any], table: ScaleTable, epoch: int, step: int) -> None:
    """Send all epochs at the end of a run to W&B: one table, a row an epoch and class, and one picture of heat maps."""
    trackers = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    header, rows = table.rows(MOST_ROWS) if trackers else ([], [])
    if not rows:
        return
    import wandb

    names = list(dict.fromkeys(row[header.index("class_name")] for row in rows))
    pixels = as_pixels(heat_maps(table, names))
    for logger in trackers:
        history = wandb.Table(columns=[*header], data=[*rows])
        picture = wandb.Image(pixels, caption=f"epochs up to {epoch}")
        content = {"classes/history": history, "classes/heatmaps": picture}
        logger.experiment.log({**content, "epoch": epoch, "trainer/global_step": step})


def heat_maps(table: ScaleTable, class_names: Sequence[str]) -> Figure:
    """Draw a heat map of each quantity that a table holds, side by side."""
    quantities = [name for name in table.columns if name not in FIXED]
    side = min(9.0, max(2.5, 0.2 * len(class_names) + 1.2))
    figure, axes = new_figure(1.0 + 3.2 * len(quantities), side, columns=len(quantities))
    for number, (ax, name) in enumerate(zip(axes, quantities, strict=True)):
        epochs, history = table.history(name)
        _draw_heatmap(ax, finite(history), epochs, class_names if number == 0 else [], LABELS.get(name, name))
    return figure


def _pictures(table: ScaleTable, panel: ClassPanel, epoch: int) -> Iterable[tuple[str, Figure]]:
    panels: dict[str, Sequence[Any]] = {LABELS.get(name, name): values for name, values in panel.values.items()}
    if any(count is not None for count in panel.counts):
        panels = {"images n": panel.counts, **panels}
    if panels:
        yield "bars", per_class_bars(panel.names, panels, title=f"epoch {epoch}", log=("images n",))
    for name in panel.values:
        epochs, history = table.history(name)
        yield f"heatmap_{name}", class_heatmap(history, epochs, panel.names, LABELS.get(name, name))


def class_heatmap(
    values: Any, epochs: Sequence[int], class_names: Sequence[str], quantity: str, *, title: str = ""
) -> Figure:
    """Draw epochs from left to right and classes from top to bottom, the quantity as colour, None or NaN grey.

    Raises:
        ValueError: the shape of the values (E, C) does not fit.
    """
    table = finite(values)
    if table.shape != (len(epochs), len(class_names)) or not len(epochs):
        raise ValueError(f"Expected `values` of shape ({len(epochs)}, {len(class_names)}), but got {table.shape}.")
    figure, (ax,) = new_figure(6.0, min(9.0, max(2.5, 0.2 * len(class_names) + 1.2)))
    _draw_heatmap(ax, table, epochs, class_names, quantity)
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def _draw_heatmap(
    ax: Axes, table: np.ndarray, epochs: Sequence[int], class_names: Sequence[str], quantity: str
) -> None:
    import matplotlib

    ax.grid(False)
    colours = matplotlib.colormaps[COLOUR_MAP].with_extremes(bad=MISSING)
    picture = ax.imshow(np.ma.masked_invalid(table.T), aspect="auto", interpolation="nearest", cmap=colours)
    step = -(-len(epochs) // 10)
    ax.set_xticks(range(0, len(epochs), step), [str(epoch) for epoch in epochs[::step]])
    ax.set_xlabel("epoch", fontsize=9)
    label_classes(ax, class_names, axis="y")
    bar = ax.figure.colorbar(picture, ax=ax)
    bar.set_label(quantity, fontsize=9)
    bar.ax.tick_params(labelsize=8)
