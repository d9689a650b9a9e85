"""Which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import COLOUR_MAP, MISSING, label_classes, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERED = 20


def confusion_matrix(matrices: Any, class_names: Sequence[str], *, title: str = "") -> Figure:
    """Draw the share of each true class (top to bottom) that was given each label (left to right).

    Args:
        matrices: (R, C, C) counts of R runs, true class first; the shares are averaged over the runs.
        class_names: C names.
        title: of the figure.

    Returns:
        The figure; up to 20 classes have their percentages written in, a class without test images is grey.

    Raises:
        ValueError: the shape of the counts does not fit.
    """
    counts = np.asarray(matrices, dtype=np.float64)
    num_classes = len(class_names)
    if counts.ndim != 3 or counts.shape[1:] != (num_classes, num_classes) or not len(counts):
        raise ValueError(
            f"Expected `matrices` of shape (R, {num_classes}, {num_classes}), but got {counts.shape}. "
            "Pass one matrix of counts for each run."
        )
    import matplotlib

    totals = counts.sum(axis=2, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0).mean(axis=0)
    size = min(9.0, max(3.0, 0.42 * num_classes + 1.6))
    figure, (ax,) = new_figure(size + 0.8, size)
    ax.grid(False)
    colours = matplotlib.colormaps[COLOUR_MAP].with_extremes(bad=MISSING)
    picture = ax.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0.0, vmax=1.0, interpolation="nearest")
    if num_classes <= MOST_NUMBERED:
        _write_numbers(ax, shares)
    label_classes(ax, class_names, axis="x")
    label_classes(ax, class_names, axis="y")
    ax.set_xlabel("predicted", fontsize=9)
    ax.set_ylabel("true", fontsize=9)
    figure.colorbar(picture, ax=ax).set_label("share of the class", fontsize=9)
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def _write_numbers(ax: Any, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "black" if share > 0.6 else "white"
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
