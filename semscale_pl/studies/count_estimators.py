"""How much of the growth of S' with the count each estimator removes, on populations of known volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.figures.style import PALETTE, finite, new_figure
from semscale_pl.seeding import derive_seed
from semscale_pl.studies.known_volumes import Population, populations
from semscale_pl.studies.running import tracked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ESTIMATORS = ("plain", "matched", "oas", "ledoit_wolf", "extrapolated")
TITLES = {
    "plain": "S' plain",
    "matched": "matched",
    "oas": "OAS",
    "ledoit_wolf": "Ledoit-Wolf",
    "extrapolated": "extrapolated",
}


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Estimate S' of samples of several sizes from each population.

    Args:
        arguments: ``dim``, ``sizes`` (ascending; the smallest is the size of matching), ``repeats``, ``seed``,
            ``populations`` (names; null for all).
        folder: unused.
        jobs: unused.
        progress: is told how far the study is.

    Returns:
        ``sizes`` and ``populations``: for each its ``bits`` and per estimator, at each size, ``mean``, ``deviation``
        and how many of the samples had an estimate (``known``).

    Raises:
        ValueError: an argument is wrong.
    """
    chosen = _chosen(arguments)
    sizes, repeats = list(arguments["sizes"]), int(arguments["repeats"])
    if sizes != sorted(set(sizes)) or sizes[0] < 2 or repeats < 2:
        raise ValueError(f"Expected ascending `sizes` from 2 and `repeats` from 2, but got {sizes} and {repeats}.")
    result = {}
    for number, (name, population) in enumerate(tracked(chosen.items(), len(chosen), progress, "population")):
        table: dict[str, list[dict[str, float | None]]] = {estimator: [] for estimator in ESTIMATORS}
        for size in sizes:
            samples = population.sample(size, derive_seed(arguments["seed"], number, size), repeats)
            labels = torch.arange(repeats).repeat_interleave(size)
            for estimator, values in estimates(samples, labels, repeats, sizes[0]).items():
                table[estimator].append(_summary(values))
        result[name] = {"bits": population.bits, "estimators": table}
    return {"dim": arguments["dim"], "sizes": sizes, "repeats": repeats, "populations": result}


def estimates(features: Tensor, labels: Tensor, num_classes: int, size: int) -> dict[str, Tensor]:
    """Estimate S' of every class by every estimator.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        size: of the matched subsets.
    """
    from semscale_pl.geometry.classes import semantic_scales
    from semscale_pl.measuring.estimators import controlled_scales

    plain = semantic_scales(features, labels, num_classes)
    return {"plain": plain, **controlled_scales(features, labels, num_classes, size)}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the error of each estimator, in per cent of the population's S', as a table in Markdown.

    Args:
        result: of :func:`run`.
    """
    sizes = result["sizes"]
    lines = [f"| population (S' in bits) | estimator | {' | '.join(f'm = {size}' for size in sizes)} | spread |"]
    lines.append(f"|---|---|{'---:|' * (len(sizes) + 1)}")
    for name, entry in result["populations"].items():
        for number, (estimator, cells) in enumerate(entry["estimators"].items()):
            shown = [_percent(cell, entry["bits"], result["repeats"]) for cell in cells]
            means = [cell["mean"] for cell in cells if cell["mean"] is not None]
            spread = f"{100 * (max(means) - min(means)) / entry['bits']:.0f}" if len(means) > 1 else "–"
            title = f"{name} ({entry['bits']:.1f})" if number == 0 else ""
            lines.append(f"| {title} | {TITLES[estimator]} | {' | '.join(shown)} | {spread} |")
    return "\n".join(lines)


def _percent(cell: Mapping[str, float | None], bits: float, repeats: int) -> str:
    if cell["mean"] is None or cell["known"] is None:
        return "–"
    mark = "" if cell["known"] == repeats else "*"
    return f"{100 * (cell['mean'] - bits) / bits:+.0f}{mark}"


def _summary(values: Tensor) -> dict[str, float | None]:
    known = values[~values.isnan()]
    if len(known) < 2:
        return {"mean": None, "deviation": None, "known": len(known)}
    return {"mean": float(known.mean()), "deviation": float(known.std()), "known": len(known)}


def _chosen(arguments: Mapping[str, Any]) -> dict[str, Population]:
    everything = populations(arguments["dim"])
    names = arguments["populations"] or list(everything)
    if unknown := sorted(set(names) - set(everything)):
        raise ValueError(f"Expected `populations` to be among {sorted(everything)}, but got {unknown}.")
    return {name: everything[name] for name in names}


_MARKERS = "osD^v"
_TITLES = {"oas": "OAS", "ledoit_wolf": "Ledoit-Wolf", "plain": "S' plain"}
_COLUMNS = 4


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw what each estimator says of samples of growing size, and what is true of the population.

    Args:
        result: of :func:`semscale_pl.studies.count_estimators.run`.
    """
    entries = result["populations"]
    columns = min(_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    figure, axes = new_figure(2.7 * columns + 0.4, 2.4 * rows + 0.6, rows, columns, sharex=True)
    for ax in axes[len(entries) :]:
        ax.set_visible(False)
    for ax, (name, entry) in zip(axes, entries.items(), strict=False):
        _panel(ax, result["sizes"], entry)
        ax.set_title(name, fontsize=9)
    for place, ax in enumerate(axes):
        if place % columns == 0:
            ax.set_ylabel("bits", fontsize=9)
        if place >= len(entries) - columns:
            ax.set_xlabel("samples m", fontsize=9)
            ax.tick_params(labelbottom=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def _panel(ax: Axes, sizes: list[int], entry: Mapping[str, Any]) -> None:
    ax.axhline(entry["bits"], color="#000000", linewidth=1.0, linestyle="--", label="population")
    for number, (estimator, cells) in enumerate(entry["estimators"].items()):
        means = finite([cell["mean"] for cell in cells])
        ax.plot(
            np.asarray(sizes),
            means,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3.5,
            linewidth=1.2,
            color=PALETTE[number % len(PALETTE)],
            label=_TITLES.get(estimator, estimator),
        )
    ax.set_xscale("log")
    ax.set_ylim(bottom=0.0)
