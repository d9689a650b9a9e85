"""How often a class's parent is found, by method and kind of feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semscale_pl.figures.style import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw accuracies with their intervals.

    Args:
        result: of :func:`semscale_pl.studies.hierarchy.run`.

    Returns:
        The figure.
    """
    rows = _rows(result)
    kinds, methods = list(rows), list(result["methods"])
    figure, (ax,) = new_figure(7.5, 0.9 + 0.75 * len(kinds))
    for step, method in enumerate(methods):
        found = [rows[kind][method] for kind in kinds]
        places = [place + 0.25 * (step - (len(methods) - 1) / 2) for place in range(len(kinds))]
        values = [100 * one["accuracy"] for one in found]
        below = [100 * (one["accuracy"] - one["low"]) for one in found]
        above = [100 * (one["high"] - one["accuracy"]) for one in found]
        ax.errorbar(
            values, places, xerr=[below, above], fmt="osD"[step], color=PALETTE[step], markersize=5, label=method
        )
    chance = 100 / len(result["parents"])
    ax.axvline(chance, color="#999999", linewidth=0.8, linestyle="--")
    ax.text(chance, len(kinds) - 0.55, " chance", fontsize=7, color="#777777")
    ax.set_yticks(range(len(kinds)), kinds, fontsize=8)
    ax.set_ylim(len(kinds) - 0.45, -0.55)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlim(0, 100)
    total = len(result["classes"])
    ax.set_xlabel(f"parent found (% of {total} classes, {len(result['parents'])} parents, 95 % interval)", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _rows(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the features that no training made, and the means over the trainings; or the one training there is."""
    count = len(result.get("network_accuracy", []))
    if count < 2:
        return {kind: found["methods"] for kind, found in result["kinds"].items()}
    own = {kind: found["methods"] for kind, found in result["kinds"].items() if not kind.startswith("network")}
    return {**own, **{f"{kind}\n{count} trainings": found for kind, found in result["over_seeds"].items()}}
