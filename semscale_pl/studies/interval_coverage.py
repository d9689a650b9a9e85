"""How often the 95 % intervals of S' hold what they are about, and why a bootstrap is none of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.figures.style import new_figure, series_style
from semscale_pl.geometry import semantic_scales
from semscale_pl.measuring.intervals import scale_intervals
from semscale_pl.measuring.subsamples import bits_of_subsets, coordinates
from semscale_pl.seeding import derive_seed
from semscale_pl.studies.known_volumes import Population, chosen_names, populations
from semscale_pl.studies.running import Report, tracked

METHODS = ("jackknife", "subsample", "bootstrap")
_LINE_STYLES = ("-", "--", ":")
_RESAMPLES = 100
# Samples behind the expectation, for each sample that gets an interval.
_MORE = 5


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Draw many samples, compute the interval of each, and count.

    Args:
        arguments: ``dims``, ``sizes``, ``repeats``, ``seed``, ``populations`` (names; null for all).

    Returns:
        ``cells``: for each population, dimension and size the share of intervals that hold the expectation of S' at
        that size, for each method, and the mean width of the jackknife's in bits.

    Raises:
        ValueError: an argument is wrong.
    """
    names, cells = chosen_names(arguments["populations"]), []
    grid = list(product(names, arguments["dims"], arguments["sizes"]))
    for number, (name, dim, size) in enumerate(tracked(grid, len(grid), progress, "setting")):
        found = coverage(populations(dim)[name], size, arguments["repeats"], derive_seed(arguments["seed"], number))
        cells.append({"population": name, "dim": dim, "size": size, **found})
    return {"repeats": arguments["repeats"], "cells": cells}


def coverage(population: Population, size: int, repeats: int, seed: int) -> dict[str, float]:
    """Return each method's coverage over ``repeats`` intervals of ``size`` samples, and the jackknife's mean width."""
    labels = torch.arange(repeats).repeat_interleave(size)
    # The mean over other samples; the 95 % interval's own are in it too few to matter.
    means = [
        semantic_scales(population.sample(size, derive_seed(seed, part), repeats), labels, repeats).mean()
        for part in range(1, _MORE + 1)
    ]
    expected = torch.stack(means).mean()
    features = population.sample(size, derive_seed(seed, 0), repeats)
    bounds = {
        "jackknife": scale_intervals(features, labels, repeats, "jackknife"),
        "subsample": scale_intervals(features, labels, repeats, "subsample", repeats=_RESAMPLES),
        "bootstrap": _bootstrap(features.split(size), seed),
    }
    held = {
        name: float(((bound[:, 0] <= expected) & (expected <= bound[:, 1])).double().mean())
        for name, bound in bounds.items()
    }
    return {**held, "width": float((bounds["jackknife"][:, 1] - bounds["jackknife"][:, 0]).mean())}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the coverage in per cent, jackknife / subsample / bootstrap, as a table in Markdown."""
    cells = {(cell["population"], cell["dim"], cell["size"]): cell for cell in result["cells"]}
    names, dims, sizes = (list(dict.fromkeys(key[part] for key in cells)) for part in range(3))
    lines = [f"| population | d | {' | '.join(f'm = {size}' for size in sizes)} |", f"|---|---:|{'---|' * len(sizes)}"]
    for name, dim in product(names, dims):
        found = [cells[name, dim, size] for size in sizes]
        shown = [" / ".join(f"{100 * cell[method]:.0f}" for method in METHODS) for cell in found]
        lines.append(f"| {name} | {dim} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _bootstrap(samples: tuple[Tensor, ...], seed: int) -> Tensor:
    """Return the percentile intervals of rows drawn with replacement, which is what not to do."""
    generator = torch.Generator().manual_seed(seed)
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    bounds = []
    for rows in samples:
        drawn = torch.randint(len(rows), (_RESAMPLES, len(rows)), generator=generator)
        bounds.append(bits_of_subsets(coordinates(rows), drawn, rows.shape[1]).quantile(tails))
    return torch.stack(bounds) if bounds else torch.full((0, 2), math.nan)


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the share of intervals that hold the expectation of S' at their count."""
    cells = result["cells"]
    names = list(dict.fromkeys(cell["population"] for cell in cells))
    dims = list(dict.fromkeys(cell["dim"] for cell in cells))
    figure, axes = new_figure(10.5, 3.9, 1, len(METHODS), sharey=True)
    for ax, method in zip(axes, METHODS, strict=True):
        ax.axhline(95, color="#888888", linewidth=0.8, linestyle="--")
        for (number, name), (step, dim) in product(enumerate(names), enumerate(dims)):
            line = [cell for cell in cells if (cell["population"], cell["dim"]) == (name, dim)]
            colour, marker = series_style(number)
            sizes, covered = [cell["size"] for cell in line], [100 * cell[method] for cell in line]
            line_style = _LINE_STYLES[step % len(_LINE_STYLES)]
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5, "linestyle": line_style}
            ax.plot(sizes, covered, linewidth=1.0, label=f"{name}, d = {dim}", **style)
        ax.set(xscale="log", ylim=(-3, 103), xlabel="samples m")
        ax.set_title(method, fontsize=10)
    axes[0].set_ylabel("coverage in %, wanted 95")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    return figure
