"""Accuracy of a network trained on k chosen images of each class, over k and over the volume that they span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.comparison import MARKERS
from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "random": "random",
    "draws": "best S' of 100 draws",
    "greedy": "greedy volume",
    "herding": "herding",
    "k_centre": "k-centre",
}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the study ``subset_selection``.

    Args:
        result: as it returns it.

    Returns:
        The figure: on the left accuracy over k with 95 % intervals, on the right the difference to the random choice
        over how much larger S' is than the random choice's.
    """
    figure, (left, right) = new_figure(9.5, 4.0, columns=2)
    methods = list(dict.fromkeys(entry["method"] for entry in result["entries"]))
    sizes = sorted({entry["size"] for entry in result["entries"]})
    for number, method in enumerate(methods):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        rows = [entry for entry in result["entries"] if entry["method"] == method]
        _over_size(left, rows, sizes, number - (len(methods) - 1) / 2, colour, marker)
        if method != "random":
            _over_scale(right, rows, result["entries"], colour, marker)
    left.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    left.set_xlabel("chosen images of each class k", fontsize=9)
    left.set_ylabel("balanced accuracy (%)", fontsize=9)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    right.axhline(0.0, color="#888888", linewidth=0.8, linestyle="--")
    right.set_xlabel("S' of the chosen images less that of a random choice (bits)", fontsize=9)
    right.set_ylabel("accuracy less that of a random choice (points)", fontsize=9)
    right.text(0.98, 0.98, "labels: k", transform=right.transAxes, ha="right", va="top", fontsize=8)
    return figure


def _over_size(ax: Axes, rows: list[Any], sizes: list[int], shift: float, colour: str, marker: str) -> None:
    places = np.array([sizes.index(row["size"]) for row in rows]) + 0.08 * shift
    means = finite([row["accuracy"]["mean"] for row in rows])
    widths = np.nan_to_num(finite([row["accuracy"]["half_width"] for row in rows]))
    label = NAMES.get(rows[0]["method"], rows[0]["method"])
    ax.errorbar(places, means, yerr=widths, color=colour, marker=marker, markersize=5, capsize=2, label=label)


def _over_scale(ax: Axes, rows: list[Any], entries: list[Any], colour: str, marker: str) -> None:
    baseline = {entry["size"]: entry["scale"] for entry in entries if entry["method"] == "random"}
    for row in rows:
        place, height = row["scale"] - baseline[row["size"]], row["difference"]["mean"]
        width = row["difference"]["half_width"] or 0.0
        ax.errorbar(place, height, yerr=width, color=colour, marker=marker, markersize=5, capsize=2)
        ax.annotate(str(row["size"]), (place, height), (5, 4), textcoords="offset points", fontsize=7)
