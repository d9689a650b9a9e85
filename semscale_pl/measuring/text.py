"""A measurement as a table in the terminal and as CSV."""

from __future__ import annotations

import math
import sys

from semscale_pl.files import csv_text
from semscale_pl.measuring.measurement import Measurement

CONTROLLED = {"matched": "matched", "oas": "OAS", "ledoit_wolf": "Ledoit-Wolf", "extrapolated": "extrapolated"}
UNDEFINED = "n/a"


def print_measurement(measurement: Measurement, top: int) -> None:
    """Print the classes, the smallest S first, and the warnings in words.

    Args:
        measurement: of all classes.
        top: rows to print.
    """
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width; cutting numbers there would be worse than a long line.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    head, *rows = cells(measurement)
    table = Table(*head)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[:top]:
        table.add_row(_printable(row[0]).replace("[", r"\["), *row[1:])
    console.print(table)
    if len(rows) > top:
        console.print(f"and {len(rows) - top:,} more with a larger S, see scales.csv (top=N prints more)", markup=False)
    for notice in measurement.notices:
        console.print(f"note: {_printable(notice.text)}", markup=False, soft_wrap=True)


def cells(measurement: Measurement) -> list[list[str]]:
    """Return the printed table: its head, then a row for each class by ascending S."""
    counts, intervals = measurement.counts, measurement.intervals
    head = ["class", "n", "E_n", "S' (bits)"]
    head += ["interval of S'"] if intervals is not None else []
    head += [f"S' {CONTROLLED[name]}" for name in measurement.controlled]
    rows = [[*head, "W", "S", "weight"]]
    for label in measurement.order():
        row = [measurement.class_names[label], f"{counts[label]:,}", _shown(measurement.effective_numbers[label], 1)]
        row.append(_shown(measurement.scales[label], 2))
        if intervals is not None:
            low, high = (_shown(bound, 2) for bound in intervals[label])
            row.append(UNDEFINED if low == UNDEFINED else f"{low} to {high}")
        row += [_shown(values[label], 2) for values in measurement.controlled.values()]
        row += [_shown(values[label], 3) for values in (measurement.weights, measurement.imbalance)]
        rows.append([*row, _shown(measurement.suggested[label], 2)])
    return rows


def csv_of(measurement: Measurement) -> str:
    """Return a CSV with full precision, a row for each class by ascending S; what is undefined is empty."""
    columns = {
        "n": measurement.counts,
        "effective_number": measurement.effective_numbers,
        "scale_bits": measurement.scales,
        "interclass_weight": measurement.weights,
        "imbalance": measurement.imbalance,
        "suggested_weight": measurement.suggested,
        **{f"scale_bits_{name}": values for name, values in measurement.controlled.items()},
    }
    if measurement.intervals is not None:
        columns |= {"scale_bits_low": measurement.intervals[:, 0], "scale_bits_high": measurement.intervals[:, 1]}
    rows = (
        [measurement.class_names[label], *(_exact(values[label]) for values in columns.values())]
        for label in measurement.order()
    )
    return csv_text([["class", *columns], *rows])


def _printable(text: str) -> str:
    """Return a text that neither breaks a line nor steers the terminal, whatever a class is called."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _shown(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else UNDEFINED


def _exact(value: float) -> str:
    return str(value.item() if hasattr(value, "item") else value) if math.isfinite(value) else ""
