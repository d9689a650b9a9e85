"""The figures of a published table, drawn again from its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.tables.publishing import CELLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = "table.json"


def draw_table(folder: Path) -> Figure:
    """Draw the first measure of the first column: every row's mean with its interval, the baseline on top.

    Args:
        folder: with the table's ``table.json``.

    Raises:
        ValueError: the file is damaged, or no row has a value.
    """
    from semscale_pl.figures.comparison import method_comparison

    content = _content(folder / TABLE)
    valued = [entry for entry in content["entries"] if entry.get("mean") is not None]
    if not valued:
        raise ValueError(f"Expected {folder / TABLE} to hold a value, but no row has one. Run `semscale table` again.")
    column, measure = valued[0]["column"], valued[0]["measure"]
    rows = [entry for entry in valued if (entry["column"], entry["measure"]) == (column, measure)]
    rows.sort(key=lambda entry: entry["row"] != content["baseline"])
    unit = f" ({rows[0]['unit'].strip()})" if (rows[0].get("unit") or "").strip() else ""
    methods = [{"method": row["row"], "mean": row["mean"], "half_width": row.get("half_width")} for row in rows]
    return method_comparison(methods, metric=f"{measure}{unit}", title=content["title"])


def draw_classes(folder: Path) -> Figure:
    """Draw accuracy, n and S of each class for the baseline, each the mean over the seeds (Figure 3 of the paper).

    Args:
        folder: with the table's ``table.json`` and ``cells.json``.

    Raises:
        ValueError: a file is damaged, or the baseline has no class accuracies.

    Reference: Ma et al. (ICLR 2023), Figure 3.
    """
    from semscale_pl.figures.per_class import accuracy_beside_scale
    from semscale_pl.tables.published import read_cells

    baseline = _content(folder / TABLE)["baseline"]
    cells = [(cell, record) for cell, record in read_cells(folder / CELLS) if cell.row == baseline]
    records = [record for cell, record in cells if cell.column == cells[0][0].column and "scales" in record]
    if not records:
        raise ValueError(f"Expected {folder / CELLS} to hold classes of {baseline!r}, but there are none.")
    accuracies = [record["results"]["last"]["per_class"]["accuracy"] for record in records]
    return accuracy_beside_scale(
        records[0]["class_names"],
        records[0]["class_counts"],
        seed_mean([record["scales"]["S"] for record in records]),
        seed_mean(accuracies),
        title=f"{baseline}: mean of {len(records)} seeds",
    )


def seed_mean(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Average lists of C values entry by entry; an entry that is undefined anywhere is undefined.

    Example:
        >>> seed_mean([[1.0, None], [2.0, 3.0]])
        [1.5, None]
    """
    return [
        None if any(value is None for value in values) else sum(value or 0.0 for value in values) / len(values)
        for values in zip(*lists, strict=True)
    ]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not {"entries", "baseline", "title"} <= set(content):
        raise ValueError(f"Expected a published table at {str(path)!r}, but found none. Run `semscale table` again.")
    return content
