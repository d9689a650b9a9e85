"""How a per-class quantity moves over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
