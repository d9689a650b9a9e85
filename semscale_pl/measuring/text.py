"""A measurement as a table in the terminal and as CSV."""

from __future__ import annotations

import math

from semscale_pl.features.source import Taken
from semscale_pl.files import csv_text
from semscale_pl.measuring.measurement import Column, Measurement
from semscale_pl.terminal import console, printable
from semscale_pl.text_table import print_table

UNDEFINED = "n/a"


def print_measurement(measurement: Measurement, top: int) -> None:
    """Print at most ``top`` classes, the smallest S first, what was taken from a file, and the warnings in words."""
    out = console()
    head, *rows = cells(measurement)
    print_table(out, head, rows[:top])
    if len(rows) > top:
        out.print(f"and {len(rows) - top:,} more with a larger S, see scales.csv (top=N prints more)", markup=False)
    if "taken" in measurement.source:
        out.print(printable(Taken(**measurement.source["taken"]).line()), markup=False, soft_wrap=True)
    for notice in measurement.notices:
        out.print(f"note: {printable(notice.text)}", markup=False, soft_wrap=True)


def cells(measurement: Measurement) -> list[list[str]]:
    """Return the printed table: its head, then a row for each class by ascending S."""
    columns = {column.key: column for column in measurement.columns()}
    high = columns.pop("high", None)

    def number(column: Column, label: int) -> str:
        shown = _shown(column.values[label], column.digits)
        if column.key != "low" or high is None or shown == UNDEFINED:
            return shown
        return f"{shown} to {_shown(high.values[label], high.digits)}"

    heads = ["interval of S'" if key == "low" else column.head for key, column in columns.items()]
    rows = [[number(column, label) for column in columns.values()] for label in measurement.order()]
    names = [measurement.class_names[label] for label in measurement.order()]
    return [["class", *heads], *([name, *row] for name, row in zip(names, rows, strict=True))]


def csv_of(measurement: Measurement) -> str:
    """Return a CSV with full precision, a row for each class by ascending S; what is undefined is empty."""
    added = [*measurement.controlled, "low", "high"]
    # Columns that a call may add stand last, so that the others keep their place.
    columns = sorted(measurement.columns(), key=lambda column: added.index(column.key) if column.key in added else -1)
    order = measurement.order()
    rows = ([measurement.class_names[label], *(column.values[label] for column in columns)] for label in order)
    return csv_text([["class", *(column.name for column in columns)], *rows])


def _shown(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else UNDEFINED
