"""Slow drift: how far features move from epoch to epoch, under a decreasing and a constant learning rate."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale_pl.figures.style import PALETTE, finite, new_figure, series_style
from semscale_pl.statistics import mean_interval, spearman
from semscale_pl.studies.running import Report, Training, trained

FILE = "drift.csv"
COLUMNS = ("mean", "median", "p90", "to_norm", "scale_change")
_PANELS = {
    "mean": "mean drift of a feature (1: the spread of all)",
    "scale_change": "mean change of a class's S' (relative)",
}


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Train with the drift recorded and average over the seeds.

    Args:
        arguments: ``overrides`` of every training, ``schedules`` (name to overrides), ``seeds`` and ``start_epoch``,
            the epoch in which re-weighting would begin.

    Returns:
        For each schedule the epochs, learning rates and, over the seeds, the quantities of ``drift.csv`` with means and
        95 % intervals; the mean drift before and from ``start_epoch``; the rank correlation of rate and drift.

    Reference: Ma et al. (ICLR 2023), section 4.2.
    """
    progress(f"{len(arguments['schedules'])} schedules, {len(arguments['seeds'])} seeds")
    rows = [{"name": name, "overrides": changes} for name, changes in arguments["schedules"].items()]
    table = {"name": "drift", "base": [*arguments["overrides"], "callbacks=drift"], "rows": rows}
    cells = trained({**table, "seeds": arguments["seeds"]}, folder, jobs)
    schedules = {
        name: summary([cell for cell in cells if cell.row == name], arguments["start_epoch"])
        for name in arguments["schedules"]
    }
    return {
        **{key: arguments[key] for key in ("overrides", "seeds", "start_epoch")},
        "schedules": schedules,
        "cells": [cell.origin for cell in cells],
    }


def summary(cells: Sequence[Training], start_epoch: int) -> dict[str, Any]:
    """Average the files of one schedule's trainings; ``start_epoch`` splits the epochs in early and late ones."""
    files = [read_drift(cell.folder / FILE) for cell in cells]
    epochs = files[0]["epoch"]
    found: dict[str, Any] = {"epochs": [int(epoch) for epoch in epochs], "learning_rate": files[0]["learning_rate"]}
    for column in COLUMNS:
        # The first epoch has nothing to compare with.
        intervals = [mean_interval(values) for values in zip(*(file[column][1:] for file in files), strict=True)]
        for part in ("mean", "low", "high"):
            found[f"{column}_{part}"] = [None, *(getattr(interval, part) for interval in intervals)]
    late = [step for step, epoch in enumerate(epochs) if epoch >= start_epoch]
    early = [step for step, epoch in enumerate(epochs) if 1 <= epoch < start_epoch]
    for name, steps in (("early", early), ("late", late)):
        values = [float(np.mean([file["mean"][step] for step in steps])) for file in files] if steps else []
        found[name] = mean_interval(values)._asdict() if values else None
    rates = [rate for file in files for rate in file["learning_rate"][1:]]
    moved = [value for file in files for value in file["mean"][1:]]
    found["rate_and_drift"] = spearman(rates, moved)._asdict()
    found["accuracy"] = [cell.record["results"]["last"]["balanced_accuracy"] for cell in cells]
    return found


def read_drift(file: Path) -> dict[str, list[float]]:
    """Read a run's ``drift.csv``: column to values, NaN where undefined."""
    with file.open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    return {column: [float(row[column] or "nan") for row in rows] for column in rows[0]}


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the three panels with a line for each schedule."""
    figure, axes = new_figure(12.0, 3.4, 1, 3)
    for ax, (column, name) in zip(axes, _PANELS.items(), strict=False):
        for step, (schedule, found) in enumerate(result["schedules"].items()):
            _draw_band(ax, found, column, PALETTE[step], schedule)
        ax.set_ylabel(name)
    for step, found in enumerate(result["schedules"].values()):
        colour, marker = series_style(step)
        axes[2].plot(found["epochs"], found["learning_rate"], color=colour, marker=marker, markersize=3)
    axes[2].set_ylabel("learning rate")
    for ax in axes:
        ax.axvline(result["start_epoch"], color="#999999", linewidth=0.8, linestyle="--")
        label = f"epoch (dashed: {result['start_epoch']}, where re-weighting would begin)"
        ax.set(xlabel=label, ylim=(0.0, None))
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_band(ax: Axes, found: Mapping[str, Any], column: str, colour: str, label: str) -> None:
    epochs, mean = found["epochs"], finite(found[f"{column}_mean"])
    low, high = finite(found[f"{column}_low"]), finite(found[f"{column}_high"])
    ax.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(epochs, mean, color=colour, marker="o", markersize=3, label=label)
