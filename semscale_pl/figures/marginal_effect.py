"""The marginal effect: volume and accuracy over the samples a class, and both beside the effective number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"scales": "sum of S'", "accuracy": "top-1 accuracy"}
_COLOURS = {"scales": PALETTE[0], "accuracy": PALETTE[1]}
_MARKERS = {"scales": "o", "accuracy": "s"}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the curves of all seeds with their saturation points.

    Args:
        result: of :func:`semscale_pl.studies.marginal_effect.run`.

    Returns:
        The figure.
    """
    figure, (left, right) = new_figure(11.0, 4.0, 1, 2)
    _draw_absolute(left, result)
    _draw_relative(right, result)
    figure.suptitle(f"{result['dataset']}, {result['backbone']}, {len(result['seeds'])} seeds", fontsize=10)
    return figure


def _draw_absolute(ax: Axes, result: Mapping[str, Any]) -> None:
    other = ax.twinx()
    other.spines["top"].set_visible(False)
    for axes, key, scale, unit in ((ax, "scales", 1.0, "bits"), (other, "accuracy", 100.0, "%")):
        curves = finite(result[key]) * scale
        for curve in curves:
            axes.plot(result["sizes"], curve, color=_COLOURS[key], linewidth=0.6, alpha=0.5)
        mean = curves.mean(0)
        axes.plot(result["sizes"], mean, color=_COLOURS[key], marker=_MARKERS[key], markersize=4)
        axes.set_ylabel(f"{_NAMES[key]} ({unit})", color=_COLOURS[key], fontsize=9)
        axes.set_ylim(0.0, 1.08 * float(np.nanmax(curves)))
        axes.tick_params(labelsize=8, length=2)
    _label_sizes(ax)


def _draw_relative(ax: Axes, result: Mapping[str, Any]) -> None:
    for key in ("scales", "accuracy"):
        curves = finite(result[key])
        mean = (curves / curves[:, -1:]).mean(0)
        ax.plot(
            result["sizes"], mean, color=_COLOURS[key], marker=_MARKERS[key], markersize=4, label=_label(result, key)
        )
        _draw_saturation(ax, result["saturation"][key], key)
    shades = ("#BBBBBB", "#888888", "#444444", "#000000")
    for (name, curve), shade in zip(result["effective_numbers"].items(), shades, strict=False):
        ax.plot(result["sizes"], curve["relative"], color=shade, linestyle="--", linewidth=1.0, label=f"E_n, {name}")
    ax.axhline(result["share"], color="#999999", linewidth=0.6)
    ax.set_ylim(0.0, 1.08)
    ax.set_ylabel("share of the value at the largest size", fontsize=9)
    _label_sizes(ax)
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_saturation(ax: Axes, point: Mapping[str, Any], key: str) -> None:
    if point["point"] is None:
        return
    ax.axvline(point["point"], color=_COLOURS[key], linewidth=0.8)
    if point["low"] is not None:
        ax.axvspan(point["low"], point["high"], color=_COLOURS[key], alpha=0.12, linewidth=0)


def _label(result: Mapping[str, Any], key: str) -> str:
    point = result["saturation"][key]["point"]
    reached = "" if point is None else f": {100 * result['share']:.0f} % at {point:.0f}"
    return f"{_NAMES[key]}{reached}"


def _label_sizes(ax: Axes) -> None:
    ax.set_xscale("log")
    sizes = np.asarray(ax.lines[0].get_xdata(), dtype=float)
    ax.set_xlim(0.9 * sizes.min(), 1.1 * sizes.max())
    # Every other size: the logarithmic axis's own labels would run into one another.
    ax.set_xticks(sizes[::2], [f"{size:.0f}" for size in sizes[::2]])
    ax.minorticks_off()
    ax.set_xlabel("training samples of each class", fontsize=9)
