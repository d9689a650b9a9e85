"""How far features move from epoch to epoch, how much the classes' S' change, and the learning rate beneath."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    ("mean", "mean drift of a feature (1: the spread of all)"),
    ("scale_change", "mean change of a class's S' (relative)"),
)


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the three panels with a line for each schedule.

    Args:
        result: of :func:`semscale_pl.studies.drift.run`.

    Returns:
        The figure.
    """
    figure, axes = new_figure(12.0, 3.4, 1, 3)
    for ax, (column, name) in zip(axes, _PANELS, strict=False):
        for step, (schedule, found) in enumerate(result["schedules"].items()):
            _draw_band(ax, found, column, PALETTE[step], schedule)
        ax.set_ylabel(name, fontsize=9)
        ax.set_ylim(bottom=0.0)
    for step, found in enumerate(result["schedules"].values()):
        axes[2].plot(found["epochs"], found["learning_rate"], color=PALETTE[step], marker="osD^"[step], markersize=3)
    axes[2].set_ylabel("learning rate", fontsize=9)
    axes[2].set_ylim(bottom=0.0)
    for ax in axes:
        ax.axvline(result["start_epoch"], color="#999999", linewidth=0.8, linestyle="--")
        ax.set_xlabel(f"epoch (dashed: {result['start_epoch']}, where re-weighting would begin)", fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_band(ax: Axes, found: Mapping[str, Any], column: str, colour: str, label: str) -> None:
    epochs, mean = found["epochs"], finite(found[f"{column}_mean"])
    low, high = finite(found[f"{column}_low"]), finite(found[f"{column}_high"])
    ax.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(epochs, mean, color=colour, marker="o", markersize=3, label=label)
