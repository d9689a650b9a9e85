"""Methods side by side: a mean with its interval each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_LETTERS = 60


def draw_intervals(ax: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draw one point with its interval for each row, the first row on top and marked by a line.

    Args:
        ax: where to.
        rows: one mapping a method with ``method``, ``mean`` and ``half_width`` (None: one seed, no interval); where it
            has ``low`` and ``high``, these are the interval.
        metric: what ``mean`` measures.
    """
    means = finite([row["mean"] for row in rows])
    widths = finite([row.get("half_width") for row in rows])
    low, high = (finite([row.get(end) for row in rows]) for end in ("low", "high"))
    reach = np.stack([np.where(np.isnan(low), widths, means - low), np.where(np.isnan(high), widths, high - means)])
    positions = np.arange(len(rows))
    ax.errorbar(
        means,
        positions,
        xerr=np.nan_to_num(reach).clip(min=0.0),
        fmt="o",
        color=PALETTE[0],
        ecolor="#555555",
        capsize=3,
        markersize=5,
    )
    ax.axvline(float(means[0]), color="#888888", linewidth=0.8, linestyle="--")
    ax.set_yticks(positions, [plain(row["method"], MOST_LETTERS) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    ax.set_xlabel(f"{metric} (mean, 95 % interval)")
