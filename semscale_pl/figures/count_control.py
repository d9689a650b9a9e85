"""Correlations with class accuracy, plain and count-controlled, one panel a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn: label, colour, marker, and how far from the middle of the row.
_SERIES = {
    "spearman": ("with accuracy", PALETTE[0], "o", -0.22),
    "partial_spearman": ("with accuracy, given n", PALETTE[1], "D", 0.0),
    "with_n": ("with n", "#777777", "s", 0.22),
}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the rank correlations of every quantity with class accuracy, and with the count.

    Args:
        result: of :func:`semscale_pl.studies.count_control.run`.

    Returns:
        The figure: one panel a dataset, one row a quantity; means and 95 % intervals over the seeds.
    """
    datasets, names = result["datasets"], result["quantities"]
    figure, axes = new_figure(4.2 * len(datasets) + 1.4, 0.42 * len(names) + 1.5, 1, len(datasets), sharey=True)
    for ax, (title, entry) in zip(axes, datasets.items(), strict=True):
        _panel(ax, entry["correlations"], names)
        ax.set_title(f"{title}, {len(entry['seeds'])} seeds", fontsize=10)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(_SERIES), fontsize=8, frameon=False)
    return figure


def _panel(ax: Axes, correlations: Mapping[str, Any], names: list[str]) -> None:
    for key, (label, colour, marker, shift) in _SERIES.items():
        entries = [correlations[name][key] or {} for name in names]
        means = finite([entry.get("mean") for entry in entries])
        # A correlation ends at 1, Student's interval of a few seeds need not.
        low = np.clip(finite([entry.get("low") for entry in entries]), -1.0, 1.0)
        high = np.clip(finite([entry.get("high") for entry in entries]), -1.0, 1.0)
        reach = np.nan_to_num(np.stack([means - low, high - means])).clip(0.0)
        ax.errorbar(
            means,
            np.arange(len(names)) + shift,
            xerr=reach,
            fmt=marker,
            color=colour,
            markersize=4.5,
            elinewidth=1.0,
            capsize=2,
            label=label,
        )
    ax.axvline(0.0, color="#888888", linewidth=0.8)
    for row in range(1, len(names)):
        ax.axhline(row - 0.5, color="#E5E5E5", linewidth=0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlim(-1.05, 1.05)
    ax.set_xlabel("rank correlation (mean, 95 % interval)", fontsize=9)
