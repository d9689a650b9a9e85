"""Bars of per-class quantities, one panel each, over the same classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, head, label_classes, logarithmic, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 200


def per_class_bars(
    class_names: Sequence[str], panels: Mapping[str, Any], *, title: str = "", log: Sequence[str] = ()
) -> Figure:
    """Draw one panel of bars for each quantity, all over the same classes.

    Args:
        class_names: C names, in the order of the bars.
        panels: label of a quantity to its (C,) values; None or NaN leaves a gap.
        log: labels whose panel gets a logarithmic axis.

    Raises:
        ValueError: there is no panel, or a panel has another number of values than there are classes.
    """
    if not panels:
        raise ValueError("Expected at least one panel in `panels`, but got none.")
    width = min(12.0, max(5.0, 0.22 * len(class_names) + 2.0))
    figure, axes = new_figure(width, 1.5 * len(panels) + 0.8, rows=len(panels), sharex=True)
    for colour, ax, (label, values) in zip(PALETTE * len(panels), axes, panels.items(), strict=False):
        draw_bars(ax, values, len(class_names), colour)
        ax.set_ylabel(label)
        if label in log:
            logarithmic(ax)
    label_classes(axes[-1], class_names)
    axes[-1].set_xlabel("class")
    head(figure, title)
    return figure


def draw_bars(ax: Axes, values: Any, num_classes: int, colour: str) -> None:
    """Draw (C,) values as bars, or as one filled outline where bars would be thinner than a pixel.

    Args:
        values: (C,); None or NaN leaves a gap.

    Raises:
        ValueError: there are not C values.
    """
    heights = finite(values)
    if heights.shape != (num_classes,):
        raise ValueError(f"Expected {num_classes} values, one per class, but got shape {heights.shape}.")
    positions = np.arange(num_classes)
    if num_classes <= MOST_BARS:
        ax.bar(positions, heights, width=0.8, color=colour)
    else:
        ax.fill_between(positions, heights, step="mid", color=colour, linewidth=0.0)
    ax.set_xlim(-0.6, num_classes - 0.4)
