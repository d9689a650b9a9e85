"""Which quantity of a class goes with its accuracy: correlations of every model, a panel a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import PALETTE, finite, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BASELINE = "CE"
_MOST_COLUMNS = 3
_KINDS = {"pearson": "Pearson", "spearman": "Spearman"}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw each table's correlations: the baseline with its interval over seeds, the other methods as small marks.

    Args:
        result: of :func:`semscale_pl.studies.correlation.run`.

    Returns:
        The figure.
    """
    tables: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for group in result["groups"]:
        tables.setdefault((group["table"], group["column"]), []).append(group)
    columns = min(_MOST_COLUMNS, len(tables))
    rows = -(-len(tables) // columns)
    figure, axes = new_figure(4.6 * columns + 0.6, 3.8 * rows, rows, columns, sharey=True)
    for ax, groups in zip(axes, tables.values(), strict=False):
        _draw_table(ax, groups)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    for ax in axes[::columns]:
        ax.set_ylabel("correlation with class accuracy", fontsize=9)
    axes[0].legend(fontsize=8, loc="lower left", framealpha=0.8, edgecolor="none")
    return figure


def _draw_table(ax: Axes, groups: Sequence[Mapping[str, Any]]) -> None:
    baseline = next((group for group in groups if group["row"] == _BASELINE), groups[0])
    names = list(baseline["quantities"])
    for step, (kind, label) in enumerate(_KINDS.items()):
        x = np.arange(len(names)) + 0.3 * (step - 0.5)
        for group in groups:
            if group is not baseline:
                ax.plot(x, _means(group, names, kind), ".", color=PALETTE[step], alpha=0.35, markersize=4)
        mean = _means(baseline, names, kind)
        low, high = (finite([baseline["quantities"][name][kind][part] for name in names]) for part in ("low", "high"))
        error = np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0.0)
        text = f"{label}, {baseline['row']} with 95 % interval"
        ax.errorbar(x, mean, yerr=error, fmt="os"[step], color=PALETTE[step], markersize=5, capsize=2, label=text)
        if len(groups) > 1:
            ax.plot([], [], ".", color=PALETTE[step], alpha=0.35, label=f"{label}, other methods")
    ax.axhline(0.0, color="#999999", linewidth=0.8)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(-1.05, 1.05)
    seeds = len(baseline["seeds"])
    classes = f"{baseline['dataset']}, {baseline['num_classes']} classes, {seeds} seeds"
    ax.set_title(f"{baseline['table']}: {classes}", fontsize=9)


def _means(group: Mapping[str, Any], names: Sequence[str], kind: str) -> np.ndarray:
    return finite([group["quantities"][name][kind]["mean"] for name in names])
