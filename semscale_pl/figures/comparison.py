"""Methods side by side: a mean with its interval each, and where in the classes the difference lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.per_class import draw_bars
from semscale_pl.figures.style import (
    PALETTE,
    empty_figure,
    finite,
    head,
    label_classes,
    logarithmic,
    new_figure,
    series_style,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def method_comparison(
    rows: Sequence[Mapping[str, Any]],
    *,
    class_names: Sequence[str] = (),
    accuracy: Mapping[str, Any] | None = None,
    counts: Any = None,
    imbalance: Any = None,
    metric: str = "balanced accuracy",
    title: str = "",
) -> Figure:
    """Draw each method's mean with its interval and, beside it, per-class accuracies over n and S.

    Args:
        rows: one mapping a method with ``method``, ``mean`` and ``half_width`` (None: one seed, no interval); the first
            is the baseline, marked by a line.
        class_names: C names; without them only the left half is drawn.
        accuracy: method to its (C,) accuracies in [0, 1], for the few methods to be shown per class.
        counts: (C,) training images n.
        imbalance: (C,) semantic scale imbalance S.
        metric: what ``mean`` measures.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("Expected at least one row in `rows`, but got none.")
    height = max(3.2, 0.38 * len(rows) + 1.2)
    if not class_names:
        figure, (left,) = new_figure(5.5, height)
    else:
        figure = empty_figure(11.0, max(height, 4.5))
        left = _with_class_panels(figure, class_names, accuracy or {}, counts, imbalance)
    draw_intervals(left, rows, metric)
    head(figure, title)
    return figure


def draw_intervals(ax: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draw one point with its interval for each row of :func:`method_comparison`, the first row on top."""
    means = finite([row["mean"] for row in rows])
    widths = np.nan_to_num(finite([row.get("half_width") for row in rows]))
    positions = np.arange(len(rows))
    ax.errorbar(means, positions, xerr=widths, fmt="o", color=PALETTE[0], ecolor="#555555", capsize=3, markersize=5)
    ax.axvline(float(means[0]), color="#888888", linewidth=0.8, linestyle="--")
    ax.set_yticks(positions, [str(row["method"]).replace("$", r"\$") for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    ax.set_xlabel(f"{metric} (mean, 95 % interval)")


def _with_class_panels(
    figure: Figure, class_names: Sequence[str], accuracy: Mapping[str, Any], counts: Any, imbalance: Any
) -> Axes:
    """Lay out the figure, draw the class panels on the right and return the empty axes on the left."""
    given = {"images n": counts, "imbalance S": imbalance}
    below = {label: values for label, values in given.items() if values is not None}
    grid = figure.add_gridspec(1 + len(below), 2, width_ratios=[1.0, 1.35], height_ratios=[1.8] + [1.0] * len(below))
    right = [tidy(figure.add_subplot(grid[0, 1]))]
    right += [tidy(figure.add_subplot(grid[row, 1], sharex=right[0])) for row in range(1, 1 + len(below))]
    _draw_accuracies(right[0], accuracy)
    for ax, (label, values) in zip(right[1:], below.items(), strict=True):
        draw_bars(ax, values, len(class_names), "#999999")
        ax.set_ylabel(label)
        if label == "images n":
            logarithmic(ax)
    for ax in right[:-1]:
        ax.tick_params(labelbottom=False)
    label_classes(right[-1], class_names)
    right[-1].set_xlabel("class")
    return tidy(figure.add_subplot(grid[:, 0]))


def _draw_accuracies(ax: Axes, accuracy: Mapping[str, Any]) -> None:
    for number, (method, values) in enumerate(accuracy.items()):
        colour, marker = series_style(number)
        ax.plot(finite(values), marker=marker, markersize=4, linewidth=1.2, color=colour, label=method)
    ax.set(ylabel="accuracy", ylim=(-0.03, 1.03))
    if accuracy:
        ax.legend(fontsize=8, frameon=False, loc="lower left")
