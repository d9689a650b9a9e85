"""Radar plots of the degree of imbalance: one plot a dataset, one axis a class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, empty_figure, finite, legend_below, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

MOST_NAMES = 24
CROWDED = 12
_COLUMNS = 2


def radar_panels(datasets: Sequence[Mapping[str, Any]], *, note: str = "") -> Figure:
    """Draw one radar plot a dataset.

    Args:
        datasets: mappings with ``title``, ``classes`` (C names), ``imbalance`` S, ``scales`` S' and ``counts`` n, (C,)
            each; None or NaN is drawn at the centre.
        note: how S' was measured.

    Raises:
        ValueError: there is no dataset, or one has fewer than three classes.

    Reference: Ma et al. (ICLR 2023), Figures 7 and 8.
    """
    if not datasets:
        raise ValueError("Expected at least one dataset in `datasets`, but got none.")
    columns = min(_COLUMNS, len(datasets))
    rows = math.ceil(len(datasets) / columns)
    figure = empty_figure(3.9 * columns + 0.2, 2.75 * rows + 0.7)
    for number, dataset in enumerate(datasets, start=1):
        ax: Any = figure.add_subplot(rows, columns, number, projection="polar")
        draw_radar(ax, dataset["classes"], dataset["imbalance"], dataset["scales"], dataset["counts"])
        ax.set_title(plain(dataset["title"], 48), fontsize=10, pad=14)
    legend_below(figure, fontsize=9)
    if note:
        figure.suptitle(note, fontsize=9, color="#555555")
    return figure


def draw_radar(ax: PolarAxes, class_names: Sequence[str], imbalance: Any, scales: Any, counts: Any) -> None:
    """Draw S, and S' and n as shares of their largest value; the first class points up, the others follow clockwise.

    Raises:
        ValueError: there are fewer than three classes, or another number of values.
    """
    number = len(class_names)
    if number < 3:
        raise ValueError(f"Expected at least 3 classes for a radar plot, but got {number}. Draw bars instead.")
    angles = 2 * np.pi * np.arange(number) / number
    lines = (
        ("S", finite(imbalance), PALETTE[0], "-"),
        ("S' / max S'", _share(scales), PALETTE[1], "--"),
        ("n / max n", _share(counts), "#555555", ":"),
    )
    for label, values, colour, style in lines:
        if values.shape != (number,):
            raise ValueError(f"Expected {number} values of {label}, one per class, but got shape {values.shape}.")
        closed = np.nan_to_num(np.append(values, values[0]))
        ax.plot(np.append(angles, 2 * np.pi), closed, color=colour, linestyle=style, linewidth=1.4, label=label)
    ax.fill(angles, np.nan_to_num(finite(imbalance)), color=PALETTE[0], alpha=0.15, linewidth=0)
    _tidy(ax, class_names, angles)


def _share(values: Any) -> np.ndarray:
    found = finite(values)
    most = np.nanmax(found, initial=0.0)
    return found / most if most > 0 else np.zeros_like(found)


def _tidy(ax: PolarAxes, class_names: Sequence[str], angles: np.ndarray) -> None:
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    ax.set_ylim(0.0, 1.05)
    ax.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"], fontsize=7, color="#555555")
    # Between the first two axes, where no name stands.
    ax.set_rlabel_position(np.degrees(angles[1]) / 2)
    step = math.ceil(len(class_names) / MOST_NAMES)
    angles = angles[::step]
    names = [_moved_outwards(plain(name, 12), angle) for name, angle in zip(class_names[::step], angles, strict=True)]
    ax.set_xticks(angles, names, fontsize=7 if len(names) <= CROWDED else 6)
    ax.tick_params(axis="x", pad=1)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.spines["polar"].set_color("#DDDDDD")
    for label, angle in zip(ax.get_xticklabels(), angles, strict=True):
        side = math.sin(angle)
        label.set_horizontalalignment("center" if abs(side) < 0.2 else "left" if side > 0 else "right")


def _moved_outwards(name: str, angle: float) -> str:
    """Move the names at the top and the bottom a line outwards, where their neighbours do not reach."""
    if abs(math.sin(angle)) >= 0.2:
        return name
    return f"{name}\n" if math.cos(angle) > 0 else f"\n{name}"
