"""Coverage of the intervals of S' over the count of samples, one panel a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semscale_pl.figures.style import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METHODS = ("jackknife", "subsample", "bootstrap")
_MARKERS = "osD^vP*X"
_STYLES = ("-", "--", ":")


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the share of intervals that hold the expectation of S' at their count.

    Args:
        result: of :func:`semscale_pl.studies.interval_coverage.run`.
    """
    cells = result["cells"]
    names = list(dict.fromkeys(cell["population"] for cell in cells))
    dims = list(dict.fromkeys(cell["dim"] for cell in cells))
    figure, axes = new_figure(10.5, 3.9, 1, len(_METHODS), sharey=True)
    for ax, method in zip(axes, _METHODS, strict=True):
        ax.axhline(95, color="#888888", linewidth=0.8, linestyle="--")
        for number, name in enumerate(names):
            for place, dim in enumerate(dims):
                line = [cell for cell in cells if (cell["population"], cell["dim"]) == (name, dim)]
                ax.plot(
                    [cell["size"] for cell in line],
                    [100 * cell[method] for cell in line],
                    marker=_MARKERS[number % len(_MARKERS)],
                    markersize=3.5,
                    linewidth=1.0,
                    linestyle=_STYLES[place % len(_STYLES)],
                    color=PALETTE[number % len(PALETTE)],
                    label=f"{name}, d = {dim}",
                )
        ax.set_xscale("log")
        ax.set_ylim(-3, 103)
        ax.set_title(method, fontsize=10)
        ax.set_xlabel("samples m", fontsize=9)
    axes[0].set_ylabel("coverage in %, wanted 95", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    return figure
