"""The collection advisor: predicted against revealed increments, what a stop leaves, and accuracy at equal budget."""

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
    "start": "start, nothing added",
    "advisor": "advisor",
    "advisor_bits": "advisor, bits",
    "starved": "fewest images first",
    "uniform": "every class in turn",
    "proportional": "as at the start",
}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the study ``advisor``.

    Args:
        result: as it returns it.

    Returns:
        The figure, one row a dataset.
    """
    rows = result["datasets"]
    figure, axes = new_figure(11.0, 3.4 * len(rows), len(rows), 3)
    for number, entry in enumerate(rows):
        left, middle, right = axes[3 * number : 3 * number + 3]
        _predictions(left, entry)
        _stops(middle, entry["stops"])
        _accuracies(right, entry["policies"])
        left.set_title(f"{entry['dataset']}: a batch of {entry['batch']}", fontsize=9)
        middle.set_title(f"{entry['dataset']}: where the rule stops, batches of {entry['stop_batch']}", fontsize=9)
        right.set_title(f"{entry['dataset']}: after {entry['budget']} further images", fontsize=9)
    return figure


def _predictions(ax: Axes, entry: Mapping[str, Any]) -> None:
    found = entry["prediction"]["uniform"]
    points = finite(found["points"])
    ax.scatter(points[:, 0], points[:, 1], s=8, color=PALETTE[0], alpha=0.5, linewidths=0)
    reach = [0.0, float(points.max())]
    ax.plot(reach, reach, color="#888888", linewidth=0.8, linestyle="--")
    value, error = found["predicted"]["correlation"]["mean"], found["predicted"]["error"]["mean"]
    ax.text(0.04, 0.96, f"r = {value:.2f}, error {100 * error:.0f} %", transform=ax.transAxes, va="top", fontsize=8)
    ax.set_xlabel("predicted increment of S' (bits)", fontsize=9)
    ax.set_ylabel("revealed (bits)", fontsize=9)


def _stops(ax: Axes, stops: list[Any]) -> None:
    for number, rule in enumerate(dict.fromkeys(stop["rule"] for stop in stops)):
        rows = [stop for stop in stops if stop["rule"] == rule]
        left = 100.0 * finite([row["left"]["mean"] for row in rows])
        widths = 100.0 * np.nan_to_num(finite([row["left"]["half_width"] for row in rows]))
        counts = finite([row["count"]["mean"] for row in rows])
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        ax.errorbar(counts, left, yerr=widths, color=colour, marker=marker, markersize=4, capsize=2, label=rule)
        if number == 0:
            for row, x, y in zip(rows, counts, left, strict=True):
                ax.annotate(f"{100 * row['threshold']:g} %", (x, y), (-4, -10), textcoords="offset points", fontsize=7,
                            ha="right")  # fmt: skip
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("images of a class at the stop", fontsize=9)
    ax.set_ylabel("S' still missing (%)", fontsize=9)
    ax.legend(fontsize=8, frameon=False, title="threshold on the increment", title_fontsize=8)


def _accuracies(ax: Axes, policies: list[Any]) -> None:
    rows = [row for row in policies if row["policy"] != "start"]
    means = finite([row["accuracy"]["mean"] for row in rows])
    widths = np.nan_to_num(finite([row["accuracy"]["half_width"] for row in rows]))
    places = np.arange(len(rows))
    ax.errorbar(means, places, xerr=widths, fmt="o", color=PALETTE[0], ecolor="#555555", capsize=3, markersize=5)
    ax.axvline(float(means[0]), color="#888888", linewidth=0.8, linestyle="--")
    ax.set_yticks(places, [NAMES.get(row["policy"], row["policy"]) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    ax.set_xlabel("balanced accuracy (%), 95 % interval", fontsize=9)
