"""Copy a table's cells, with their provenance, to where results are kept under version control."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semscale_pl.cli.strict_json import strict, write_text
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.engine import TableResult, save_table
from semscale_pl.tables.shared import own_part, shared_part

CELLS = "cells.json"
# What a record is worth without: it grows with the square of the classes.
_TOO_LONG = ("confusion_matrix",)
_MOST_CLASSES = 20
_DIGITS = 6


def publish(result: TableResult, folder: Path) -> Path:
    """Write the table and ``cells.json`` to a folder of its own.

    Args:
        result: of a table whose cells are all there, except for those whose dataset is not.
        folder: of all published results.

    Returns:
        The table's folder.

    Raises:
        ValueError: a cell is missing, or there is none at all.
    """
    records = {run: run.metrics() for run in result.runs if run.cell.label not in result.absent}
    missing = [run.cell.label for run, metrics in records.items() if metrics is None]
    if missing or not records:
        first = missing[0] if missing else result.runs[0].cell.label
        raise ValueError(f"Expected all cells to be there before publishing, but {len(missing)} are not: {first}.")
    table = result.summary.table
    target = folder / table.full_name
    cells = [cell_record(run, metrics) for run, metrics in records.items() if metrics is not None]
    save_table(result, target)
    write_text(target / CELLS, cells_text({"table": table.name, "profile": table.profile}, cells))
    return target


def cell_record(run: CellRun, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's place in the table and everything that its run recorded.

    Args:
        run: the cell.
        metrics: the content of its ``metrics.json``: results, config, seed, index hash, commit, versions, device, cost.

    Returns:
        Plain data; confusion matrices of more than 20 classes and the machine's folder of datasets are left out, and
        lists of numbers have 6 digits.
    """
    cell = run.cell
    place = {"row": cell.row, "column": cell.column, "seed": cell.seed, "overrides": list(cell.overrides)}
    long = int(metrics.get("num_classes") or 0) > _MOST_CLASSES
    record = _shortened(metrics, _TOO_LONG if long else ())
    if isinstance(dataset := (record.get("config") or {}).get("dataset"), dict):
        dataset.pop("root", None)
    return {**place, "key": run.folder.name, "record": record}


def cells_text(head: Mapping[str, Any], cells: list[dict[str, Any]]) -> str:
    """Return the file of published cells: what all records share once, then one line a cell.

    Args:
        head: further entries.
        cells: see :func:`cell_record`.

    Returns:
        Strict JSON; :func:`semscale_pl.tables.published.read_cells` puts the records together again.
    """
    shared = shared_part([cell["record"] for cell in cells])
    lines = [_line({**cell, "record": own_part(cell["record"], shared)}) for cell in cells]
    entries = [f'"{key}": {_line(value)}' for key, value in {**head, "shared": shared}.items()]
    return "{\n" + ",\n".join([*entries, '"cells": [\n' + ",\n".join(lines) + "\n]"]) + "\n}\n"


def _line(content: Any) -> str:
    return json.dumps(strict(content), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _shortened(content: Any, left_out: tuple[str, ...]) -> Any:
    if isinstance(content, Mapping):
        return {key: _shortened(value, left_out) for key, value in content.items() if key not in left_out}
    if isinstance(content, list):
        return [float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for value in content]
    return content
