"""The figure of a table: every method's interval, and where among the classes two methods differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semscale_pl.tables.engine import TableResult


def save_figure_of(result: TableResult, path: Path, shown: Sequence[str] = ()) -> Path | None:
    """Draw the focus measure of the first column, with class accuracies beside n and S where the records have them.

    Args:
        result: of a table.
        path: of the picture.
        shown: rows whose class accuracies are drawn, averaged over the seeds; the baseline's S stands below them.

    Returns:
        The path; None where no row has a value yet.
    """
    from semscale_pl.figures.comparison import method_comparison
    from semscale_pl.figures.style import save_figure

    table = result.summary.table
    entries = [e for e in result.summary.entries if (e.column, e.measure) == (table.columns[0].name, table.focus)]
    entries.sort(key=lambda entry: entry.row != table.baseline)
    rows = [
        {"method": entry.row, "mean": entry.interval.mean, "half_width": entry.interval.half_width}
        for entry in entries
        if entry.interval is not None
    ]
    if not rows:
        return None
    label = f"{table.focus.name}{f' ({table.focus.unit.strip()})' if table.focus.unit.strip() else ''}"
    return save_figure(method_comparison(rows, metric=label, title=table.title, **_classes(result, shown)), path)


def save_confusions(result: TableResult, folder: Path) -> list[Path]:
    """Draw each row's and column's confusion matrix, the mean over the seeds of the shares of a class.

    Args:
        result: of a table.
        folder: for ``confusion_ROW[_COLUMN].png``.

    Returns:
        The files.
    """
    from semscale_pl.figures.confusion import confusion_matrix
    from semscale_pl.figures.style import save_figure

    found = []
    for row, column in itertools.product(result.summary.table.rows, result.summary.table.columns):
        records = [
            record["results"]["last"]
            for run in result.runs
            if (run.cell.row, run.cell.column) == (row.name, column.name) and (record := run.metrics()) is not None
        ]
        reports = [report for report in records if report and "confusion_matrix" in report]
        if not reports:
            continue
        label = " · ".join(name for name in (row.name, column.name) if name)
        title = f"{label}, mean of {len(reports)} runs" if len(reports) > 1 else label
        drawn = confusion_matrix([r["confusion_matrix"] for r in reports], reports[0]["class_names"], title=title)
        name = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")
        found.append(save_figure(drawn, folder / f"confusion_{name}.png"))
    return found


def _classes(result: TableResult, shown: Sequence[str]) -> dict[str, Any]:
    table = result.summary.table
    records = {row: _records(result, row) for row in (table.baseline, *shown)}
    baseline = records[table.baseline]
    if not shown or not all(records.values()):
        return {}
    return {
        "class_names": baseline[0]["class_names"],
        "counts": baseline[0]["class_counts"],
        "imbalance": _mean([record["scales"]["S"] for record in baseline]),
        "accuracy": {
            row: _mean([record["results"]["last"]["per_class"]["accuracy"] for record in records[row]]) for row in shown
        },
    }


def _records(result: TableResult, row: str) -> list[dict[str, Any]]:
    column = result.summary.table.columns[0].name
    found = [run.metrics() for run in result.runs if (run.cell.row, run.cell.column) == (row, column)]
    return [record for record in found if record is not None and "class_names" in record and "scales" in record]


def _mean(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Average lists of C values entry by entry; an entry that is undefined anywhere is undefined."""
    return [
        None if any(value is None for value in values) else sum(value or 0.0 for value in values) / len(values)
        for values in zip(*lists, strict=True)
    ]
