"""How much of the growth of S' with the count each estimator removes, on populations of known volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.figures.style import finite, legend_below, new_figure, series_style
from semscale_pl.geometry import semantic_scales
from semscale_pl.measuring.estimators import controlled_scales
from semscale_pl.seeding import derive_seed
from semscale_pl.studies.known_volumes import chosen_names, populations
from semscale_pl.studies.running import Report, tracked

TITLES = {
    "plain": "S' plain",
    "matched": "matched",
    "oas": "OAS",
    "ledoit_wolf": "Ledoit-Wolf",
    "extrapolated": "extrapolated",
}
_COLUMNS = 4


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Estimate S' of samples of several sizes from each population.

    Args:
        arguments: ``dim``, ``sizes`` (ascending; the smallest is the size of matching), ``repeats``, ``seed``,
            ``populations`` (names; null for all).

    Returns:
        ``sizes`` and ``populations``: for each its ``bits`` and per estimator, at each size, ``mean``, ``deviation``
        and how many of the samples had an estimate (``known``).

    Raises:
        ValueError: an argument is wrong.
    """
    everything = populations(arguments["dim"])
    names = chosen_names(arguments["populations"])
    sizes, repeats = list(arguments["sizes"]), int(arguments["repeats"])
    if sizes != sorted(set(sizes)) or sizes[0] < 2 or repeats < 2:
        raise ValueError(f"Expected ascending `sizes` from 2 and `repeats` from 2, but got {sizes} and {repeats}.")
    result = {}
    for number, name in enumerate(tracked(names, len(names), progress, "population")):
        population = everything[name]
        table: dict[str, list[dict[str, float | None]]] = {estimator: [] for estimator in TITLES}
        for size in sizes:
            samples = population.sample(size, derive_seed(arguments["seed"], number, size), repeats)
            labels = torch.arange(repeats).repeat_interleave(size)
            for estimator, values in estimates(samples, labels, repeats, sizes[0]).items():
                table[estimator].append(_summary(values))
        result[name] = {"bits": population.bits, "estimators": table}
    return {"dim": arguments["dim"], "sizes": sizes, "repeats": repeats, "populations": result}


def estimates(features: Tensor, labels: Tensor, num_classes: int, size: int) -> dict[str, Tensor]:
    """Estimate S' of every class by every estimator; ``size`` is that of the matched subsets."""
    plain = semantic_scales(features, labels, num_classes)
    return {"plain": plain, **controlled_scales(features, labels, num_classes, size)}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the error of each estimator, in per cent of the population's S', as a table in Markdown."""
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


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw what each estimator says of samples of growing size, and what is true of the population."""
    entries = result["populations"]
    columns = min(_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    figure, axes = new_figure(2.7 * columns + 0.4, 2.4 * rows + 0.6, rows, columns, sharex=True)
    for ax in axes[len(entries) :]:
        ax.set_visible(False)
    for ax, (name, entry) in zip(axes, entries.items(), strict=False):
        _panel(ax, result["sizes"], entry)
        ax.set_title(name, fontsize=9)
    for ax in axes[::columns]:
        ax.set_ylabel("bits")
    # The lowest panel of each column, also above one that is hidden.
    for ax in axes[len(entries) - columns :]:
        ax.set_xlabel("samples m")
        ax.tick_params(labelbottom=True)
    legend_below(figure)
    return figure


def _panel(ax: Axes, sizes: list[int], entry: Mapping[str, Any]) -> None:
    ax.axhline(entry["bits"], color="#000000", linewidth=1.0, linestyle="--", label="population")
    for number, (estimator, cells) in enumerate(entry["estimators"].items()):
        colour, marker = series_style(number)
        means, label = finite([cell["mean"] for cell in cells]), TITLES.get(estimator, estimator)
        ax.plot(sizes, means, marker=marker, markersize=3.5, linewidth=1.2, color=colour, label=label)
    ax.set(xscale="log", ylim=(0.0, None))
