"""The table that a sweep ends with: what differs between its jobs, their test results, how each ended; and its CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semscale_pl.config.command_line import shown
from semscale_pl.config.unmatched import unmatched
from semscale_pl.files import csv_text, write_text
from semscale_pl.terminal import console
from semscale_pl.training.run_folder import objective_in, read_record
from semscale_pl.training.sweep import DONE, KEPT, Job

FILE = "sweep.csv"
# Ways to a result in metrics.json: of a training, of an evaluation.
_ACCURACY = {
    "balanced accuracy": (("results", "last", "balanced_accuracy"), ("test", "balanced_accuracy")),
    "of the selected epoch": (("results", "selected", "balanced_accuracy"),),
    "Recall@1": (("results", "last", "recall_at_1"),),
    "Recall@1 of the selected epoch": (("results", "selected", "recall_at_1"),),
}


def finish(jobs: Sequence[Job], folder: Path) -> None:
    """Write ``sweep.csv``, then print the table, what its rows differ in besides, and why jobs have no result."""
    write_text(folder / FILE, csv_of(jobs))
    _print(jobs, folder)
    for job, row in zip(jobs, differing(jobs), strict=True):
        if job.why:
            sys.stderr.write(f"semscale: job {job.number} ({_named(row)}) {job.status}: {job.why}\n")


def csv_of(jobs: Sequence[Job]) -> str:
    """Return the table as CSV, with a column for each override that differs between jobs."""
    settings = differing(jobs)
    keys = list(dict.fromkeys(key for row in settings for key in row))
    header = ["job", *keys, "status", *(name.replace(" ", "_") for name in _ACCURACY), "objective", "folder", "why"]
    rows = [
        [job.number, *(row.get(key) for key in keys), job.status, *_values(job), _objective(job), job.folder, job.why]
        for job, row in zip(jobs, settings, strict=True)
    ]
    return csv_text([header, *rows])


def differing(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Return for each job its overrides that not all jobs have alike, key to value."""
    every = [dict(one.lstrip("+").partition("=")[::2] for one in job.overrides) for job in jobs]
    keys = dict.fromkeys(key for row in every for key in row)
    varied = [key for key in keys if len({row.get(key) for row in every}) > 1]
    return [{key: row[key] for key in varied if key in row} for row in every]


def _print(jobs: Sequence[Job], folder: Path) -> None:
    from rich.table import Table

    every = [_values(job) for job in jobs]
    known = [place for place in range(len(_ACCURACY)) if any(values[place] is not None for values in every)]
    heads = [list(_ACCURACY)[place] for place in known]
    table = Table("job", "settings", *heads, "status", "folder", title=f"sweep in {shown(folder)}")
    runs: dict[str, list[Any]] = {}
    for job, row, found in zip(jobs, differing(jobs), every, strict=True):
        values = ["" if found[place] is None else f"{found[place]:.4f}" for place in known]
        table.add_row(str(job.number), _named(row), *values, job.status, shown(Path(job.folder)))
        record = read_record(Path(job.folder)) if job.status in (DONE, KEPT) else None
        if record is not None and "config" in record:
            without_seed = {key: value for key, value in row.items() if key not in ("seed", "subset_seed")}
            runs.setdefault(_named(without_seed), []).append(record["config"])
    for column in table.columns[2 : 2 + len(known)]:
        column.justify, column.no_wrap = "right", True
    screen = console()
    screen.print(table)
    for sentence in unmatched(runs):
        screen.print(sentence, markup=False)
    screen.print(f"Table in {shown(folder / FILE)}", markup=False, soft_wrap=True)


def _named(row: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in row.items())


def _values(job: Job) -> list[float | None]:
    record = read_record(Path(job.folder)) if job.status in (DONE, KEPT) else None
    return [
        next((found for way in ways if (found := _at(record, way)) is not None), None) for ways in _ACCURACY.values()
    ]


def _objective(job: Job) -> float | None:
    return objective_in(Path(job.folder)) if job.status in (DONE, KEPT) else None


def _at(content: Any, way: Sequence[str]) -> Any:
    for key in way:
        content = content.get(key) if isinstance(content, dict) else None
    return content
