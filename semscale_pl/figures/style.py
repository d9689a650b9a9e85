"""The one style of all figures: colour-blind safe, readable in print, drawn without pyplot's global state."""

from __future__ import annotations

import os
import textwrap
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from semscale_pl.figures.letters import make_readable
from semscale_pl.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with any common colour blindness and in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
COLOUR_MAP = "viridis"
MISSING = "#D9D9D9"
MOST_TICKS = 25
DPI = 150


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure of width by height inches and its rows * columns axes, row by row.

    Args:
        grid: further arguments of ``Figure.subplots``.
    """
    figure = empty_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, [tidy(ax) for ax in axes.flat]


def empty_figure(width: float, height: float) -> Figure:
    """Make a figure without axes, width by height inches, on its own Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(ax: Axes) -> Axes:
    """Take away what carries no data: upper and right spine, heavy ticks; add a faint grid behind, size the labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)
    ax.tick_params(labelsize=8, length=2)
    ax.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def series_style(number: int) -> tuple[str, str]:
    """Return colour and marker of the number-th series of a figure."""
    return PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]


def legend_below(figure: Figure, fontsize: int = 8) -> None:
    """Put the legend of the first axes in one row under a figure whose axes all show the same series."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=fontsize, frameon=False)


def label_classes(ax: Axes, class_names: Sequence[str], axis: str = "x") -> None:
    """Name the classes along the ``x`` or ``y`` axis, class c at position c; every k-th where all would not fit."""
    step = max(1, -(-len(class_names) // MOST_TICKS))
    positions = list(range(0, len(class_names), step))
    names = [plain(class_names[position]) for position in positions]
    if axis == "y":
        ax.set_yticks(positions, names)
        return
    upright = max((len(name) for name in names), default=0) <= 2
    ax.set_xticks(positions, names, rotation=0 if upright else 90)


def note_in_place(ax: Axes, text: str) -> None:
    """Say in the middle of empty axes why nothing is drawn there."""
    ax.set_xticks([])
    ax.grid(False)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=9, color="#555555")


def logarithmic(ax: Axes) -> None:
    """Give counts a logarithmic axis on which a single image still shows as a bar."""
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.5)


def plain(name: str, most: int = 18) -> str:
    r"""Shorten a name to some letters for a label, shown as it is on one line and never as a formula.

    A wide letter, such as a Chinese one, counts as two.

    Example:
        >>> plain("a class with a long name"), plain("\u6771\u4eac\u90fd\u5e81\u820e", 6) == "\u6771\u4eac…"
        ('a class with a lo…', True)
    """
    text = " ".join(str(name).split())
    ends = list(accumulate(1 + (east_asian_width(letter) in "WF") for letter in text))
    if ends and ends[-1] > most:
        text = f"{text[: bisect_right(ends, most - 1)]}…"
    return text.replace("$", r"\$")


def entry(name: str, most: int = 18) -> str:
    """Return a name for a legend, see :func:`plain`; matplotlib leaves out what begins with an underscore."""
    text = plain(name, most)
    return f" {text}" if text.startswith("_") else text


def head(figure: Figure, title: str) -> None:
    """Put a title, unless it is empty, over a figure, in as many lines as its width needs."""
    if title:
        # At 10 points, a letter is about 1/13 inch wide.
        lines = textwrap.wrap(title.replace("$", r"\$"), max(20, int(13 * figure.get_figwidth())))
        figure.suptitle("\n".join(lines), fontsize=10)


def finite(values: Any) -> np.ndarray:
    """Return values as float64, with NaN for None.

    Example:
        >>> finite([1, None])
        array([ 1., nan])
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def means_and_reaches(
    intervals: Iterable[Mapping[str, Any] | None], key: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (K,) and how far their intervals reach below and above (2, K); 0 where one is undefined.

    Args:
        intervals: mappings with ``key``, ``low`` and ``high``; None for a gap.
    """
    rows = [entry or {} for entry in intervals]
    means, low, high = (finite([row.get(part) for row in rows]) for part in (key, "low", "high"))
    return means, reaches(means, low, high)


def reaches(means: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return how far intervals reach below and above their means, (2, K); 0 where one is undefined."""
    return np.nan_to_num(np.stack([means - low, high - means])).clip(min=0.0)


def as_pixels(figure: Figure) -> np.ndarray:
    """Draw a figure and return its pixels, (height, width, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    make_readable(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file that is either whole or not there; return its path.

    Args:
        path: its ending (.png, .pdf, .svg) chooses the format; missing folders are made.

    Raises:
        ValueError: the path has no ending.
    """
    target = Path(path)
    if not target.suffix:
        raise ValueError(f"Expected `path` to end in .png, .pdf or .svg, but got {str(target)!r}.")
    make_readable(figure)
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:])
    return target
