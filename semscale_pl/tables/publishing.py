"""Copy a table's cells, with their provenance, to where results are kept under version control."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semscale_pl.cli.strict_json import write_json
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.engine import TableResult, save_table

# What a cell's record is worth without: it can be long, and says nothing that the rest does not.
_TOO_LONG = ("confusion_matrix",)
_MOST_CLASSES = 100


def publish(result: TableResult, folder: Path) -> Path:
    """Write the table and ``cells.json`` to a folder of its own.

    Args:
        result: of a table whose cells are all there.
        folder: of all published results.

    Returns:
        The table's folder.

    Raises:
        ValueError: a cell is missing.
    """
    records = {run: run.metrics() for run in result.runs}
    missing = [run.cell.label for run, metrics in records.items() if metrics is None]
    if missing:
        raise ValueError(f"Expected all cells to be there before publishing, but {len(missing)} are not: {missing[0]}.")
    table = result.summary.table
    target = folder / (f"{table.name}-{table.profile}" if table.profile else table.name)
    cells = [cell_record(run, metrics) for run, metrics in records.items() if metrics is not None]
    save_table(result, target)
    return write_json(target / "cells.json", {"table": table.name, "profile": table.profile, "cells": cells}).parent


def cell_record(run: CellRun, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's place in the table and everything that its run recorded.

    Args:
        run: the cell.
        metrics: the content of its ``metrics.json``: results, config, seed, index hash, commit, versions, device, cost.

    Returns:
        Plain data; confusion matrices of more than 100 classes are left out.
    """
    cell = run.cell
    place = {"row": cell.row, "column": cell.column, "seed": cell.seed, "overrides": list(cell.overrides)}
    long = int(metrics.get("num_classes") or 0) > _MOST_CLASSES
    return {**place, "key": run.folder.name, "record": _without(metrics, _TOO_LONG) if long else dict(metrics)}


def _without(content: Any, names: tuple[str, ...]) -> Any:
    if isinstance(content, Mapping):
        return {key: _without(value, names) for key, value in content.items() if key not in names}
    return content
