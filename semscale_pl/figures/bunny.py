"""S' of a point cloud under scaling, noise and subsampling, beside the cloud itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the four panels.

    Args:
        result: of :func:`semscale_pl.studies.bunny.run`.

    Returns:
        The figure.
    """
    figure, (cloud, scaled, noisy, subsampled) = new_figure(12.0, 3.2, 1, 4)
    _draw_cloud(cloud, finite(result["picture"]), result["points"])
    scaled.plot(result["factors"], finite(result["scaled"]), color=PALETTE[0], marker="o", markersize=4)
    scaled.set_xlabel("size of the cloud (1: as scanned)", fontsize=9)
    _draw_noise(noisy, result)
    _draw_spread(subsampled, result["sizes"], finite(result["subsampled"]), PALETTE[0])
    subsampled.set_xscale("log")
    subsampled.set_xlabel("points drawn", fontsize=9)
    for ax, title in ((scaled, "scaled about its centre"), (noisy, "noise added"), (subsampled, "subsampled")):
        ax.set_title(title, fontsize=10)
        ax.set_ylabel("S' (bits)", fontsize=9)
        ax.set_ylim(bottom=0.0)
    return figure


def _draw_cloud(ax: Axes, points: np.ndarray, number: int) -> None:
    # Depth as shade; the scan has y pointing up.
    order = np.argsort(points[:, 2])
    ax.scatter(points[order, 0], points[order, 1], c=points[order, 2], cmap="viridis", s=1.5)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.set_axis_off()
    ax.set_title(f"{number} points", fontsize=10)


def _draw_noise(ax: Axes, result: Mapping[str, Any]) -> None:
    _draw_spread(ax, result["deviations"], finite(result["noisy"]), PALETTE[0], "measured")
    predicted = finite(result["noisy_predicted"])
    ax.plot(result["deviations"], predicted, color=PALETTE[1], linestyle="--", linewidth=1.0, label="expected")
    ax.set_xlabel("noise (1: the cloud's radius)", fontsize=9)
    ax.legend(fontsize=8, frameon=False)


def _draw_spread(ax: Axes, x: Any, values: np.ndarray, colour: str, label: str = "") -> None:
    ax.fill_between(x, values.min(1), values.max(1), color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, values.mean(1), color=colour, marker="o", markersize=4, label=label)
