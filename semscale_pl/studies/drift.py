"""The study of slow drift: how far features move from epoch to epoch, under a falling and a constant learning rate."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.statistics import mean_interval, spearman
from semscale_pl.studies.training import Training, trained

FILE = "drift.csv"


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train with the drift recorded and average over the seeds.

    Args:
        arguments: ``overrides`` of every training, ``schedules`` (name to overrides), ``seeds`` and ``start_epoch``,
            the epoch in which re-weighting would begin.
        folder: keeps the trainings.
        jobs: worker processes.
        progress: is told what comes.

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
        "overrides": arguments["overrides"],
        "seeds": arguments["seeds"],
        "start_epoch": arguments["start_epoch"],
        "schedules": schedules,
        "cells": [cell.origin for cell in cells],
    }


def summary(cells: Sequence[Training], start_epoch: int) -> dict[str, Any]:
    """Average the files of one schedule.

    Args:
        cells: its trainings, one a seed.
        start_epoch: splits the epochs in early and late ones.

    Returns:
        See :func:`run`.
    """
    files = [read_drift(cell.folder / FILE) for cell in cells]
    epochs = files[0]["epoch"]
    found: dict[str, Any] = {"epochs": [int(epoch) for epoch in epochs], "learning_rate": files[0]["learning_rate"]}
    for column in ("mean", "median", "p90", "to_norm", "scale_change"):
        # The first epoch has nothing to compare with.
        intervals = [mean_interval([file[column][step] for file in files]) for step in range(1, len(epochs))]
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
