"""Estimates of S' over the count of samples, one panel a population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^v"
_TITLES = {"oas": "OAS", "ledoit_wolf": "Ledoit-Wolf", "plain": "S' plain"}
_COLUMNS = 4


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw what each estimator says of samples of growing size, and what is true of the population.

    Args:
        result: of :func:`semscale_pl.studies.count_estimators.run`.
    """
    entries = result["populations"]
    columns = min(_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    figure, axes = new_figure(2.7 * columns + 0.4, 2.4 * rows + 0.6, rows, columns, sharex=True)
    for ax in axes[len(entries) :]:
        ax.set_visible(False)
    for ax, (name, entry) in zip(axes, entries.items(), strict=False):
        _panel(ax, result["sizes"], entry)
        ax.set_title(name, fontsize=9)
    for place, ax in enumerate(axes):
        if place % columns == 0:
            ax.set_ylabel("bits", fontsize=9)
        if place >= len(entries) - columns:
            ax.set_xlabel("samples m", fontsize=9)
            ax.tick_params(labelbottom=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def _panel(ax: Axes, sizes: list[int], entry: Mapping[str, Any]) -> None:
    ax.axhline(entry["bits"], color="#000000", linewidth=1.0, linestyle="--", label="population")
    for number, (estimator, cells) in enumerate(entry["estimators"].items()):
        means = finite([cell["mean"] for cell in cells])
        ax.plot(
            np.asarray(sizes),
            means,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3.5,
            linewidth=1.2,
            color=PALETTE[number % len(PALETTE)],
            label=_TITLES.get(estimator, estimator),
        )
    ax.set_xscale("log")
    ax.set_ylim(bottom=0.0)
