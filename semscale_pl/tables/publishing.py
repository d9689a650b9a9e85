"""Published cells: kept under version control with their provenance, and read again beside a table's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semscale_pl.config.composing import experiments_dir
from semscale_pl.files import strict_json, write_text
from semscale_pl.tables import tuning
from semscale_pl.tables.aggregate import Metrics, Summary, summarize
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.engine import TableResult, save_table
from semscale_pl.tables.packing import key_of
from semscale_pl.tables.schema import Cell, Table

Content = Mapping[str, Any]
Published = Sequence[tuple[Cell, Metrics]]

CELLS, TUNING = "cells.json", "tuning.json"
RESULTS = Path("experiments/results")
# What a record is published without where it is long: it grows with the square of the classes.
_TOO_LONG, _MOST_CLASSES = ("confusion_matrix",), 20
_DIGITS = 6
# They change where a run is reported and where its data lie, not what it computes.
_WITHOUT_EFFECT = ("seed=", "logger=", "logger.", "dataset.root=")


def publish(result: TableResult, folder: Path, only_finished: bool = False) -> Path:
    """Write the table and ``cells.json`` to a folder of its own.

    Args:
        result: of a table whose cells are all there, except for those whose dataset is not.
        only_finished: leave out the cells that are not there; the table says how many seeds each row has.

    Raises:
        ValueError: a cell is missing, or there is none at all.
    """
    if not result.runs:
        raise ValueError("Expected all rows to be tuned before publishing, but they are not. Run the same call again.")
    records = {run: run.metrics() for run in result.runs if run.cell.label not in result.absent}
    if only_finished:
        records = {run: metrics for run, metrics in records.items() if metrics is not None}
    missing = [run.cell.label for run, metrics in records.items() if metrics is None]
    if missing or not records:
        first = missing[0] if missing else result.runs[0].cell.label
        raise ValueError(f"Expected all cells to be there before publishing, but {len(missing)} are not: {first}.")
    table = result.summary.table
    target = folder / table.full_name
    cells = [cell_record(run, metrics) for run, metrics in records.items() if metrics is not None]
    save_table(result, target)
    write_text(target / CELLS, cells_text({"table": table.name, "profile": table.profile}, cells))
    if result.tuning:
        write_text(target / TUNING, _tuning_text(result))
    return target


def find_published(table: Table, folders: Iterable[Path] = ()) -> Published | None:
    """Find the published cells of a table; None where there are none.

    Args:
        folders: of results to look into first; then ``experiments/results`` here, then that of the package.

    Raises:
        ValueError: the file cannot be read.
    """
    for folder in (*folders, RESULTS, experiments_dir() / "results"):
        file = folder / table.full_name / CELLS
        if file.is_file():
            return read_cells(file)
    return None


def read_cells(file: Path) -> Published:
    """Read published cells, each record whole again.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        shared = content.get("shared", {})
        return tuple((_cell(entry), joined(entry["record"], shared)) for entry in content["cells"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Expected {file} to hold published cells, but it cannot be read: {error!r}.") from None


def with_published(summary: Summary, published: Published | None) -> Summary:
    """Set the published intervals, if there are any, beside a summary's own, and remark where they come from."""
    if published is None:
        return summary
    theirs = summarize(summary.table, published)
    intervals = {(e.row, e.column, e.measure): e.interval for e in theirs.entries}
    entries = tuple(replace(e, published=intervals[e.row, e.column, e.measure]) for e in summary.entries)
    remark = provenance_sentence(summary.table, published)
    return replace(summary, entries=entries, remarks=(*summary.remarks, remark))


def provenance_sentence(table: Table, cells: Published) -> str:
    """Say what made the published cells, and whether their settings are those of the table."""
    sources = [record.get("provenance") or {} for _, record in cells]
    devices, commits = _listed(sources, "device"), _listed(sources, "commit")
    versions = sorted({str((source.get("versions") or {}).get("torch")) for source in sources})
    text = f"Published: {len(cells)} cells, commit {commits}, torch {', '.join(versions)}, {devices}."
    settings = {(cell.row, cell.column): _settings(cell) for cell in table.cells()}
    known = [cell for cell, _ in cells if (cell.row, cell.column) in settings]
    others = sum(_settings(cell) != settings[cell.row, cell.column] for cell in known)
    return text if not others else f"{text} {others} of them were run with other settings than this table's."


def cell_record(run: CellRun, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's position in the table and everything that its run recorded.

    Args:
        metrics: the content of its ``metrics.json``: results, config, seed, index hash, commit, versions, device, cost.

    Returns:
        Plain data; confusion matrices of more than 20 classes and the machine's folders are left out, and lists of
        numbers have 6 digits.
    """
    cell = run.cell
    position = {"row": cell.row, "column": cell.column, "seed": cell.seed, "overrides": list(cell.overrides)}
    long = int(metrics.get("num_classes") or 0) > _MOST_CLASSES
    record = _shortened(metrics, _TOO_LONG if long else ())
    if isinstance(config := record.get("config"), dict):
        config.pop("ckpt_path", None)  # of a cell that was stopped and went on
        if isinstance(dataset := config.get("dataset"), dict):
            dataset.pop("root", None)
    return {**position, "key": key_of(run), "record": record}


def cells_text(head: Mapping[str, Any], cells: list[dict[str, Any]]) -> str:
    """Return the file of published cells: what all records share once, then one line a cell.

    Args:
        cells: see :func:`cell_record`.
    """
    shared = shared_part([cell["record"] for cell in cells])
    lines = [strict_json({**cell, "record": own_part(cell["record"], shared)}) for cell in cells]
    entries = [f'"{key}": {strict_json(value)}' for key, value in {**head, "shared": shared}.items()]
    return "{\n" + ",\n".join([*entries, '"cells": [\n' + ",\n".join(lines) + "\n]"]) + "\n}\n"


def _tuning_text(result: TableResult) -> str:
    """Return what was chosen, from which runs, one line a run."""
    head = tuning.as_json(result.summary.table, result.summary.choices) or {}
    lines = [strict_json(record) for record in tuning.run_records(result.summary.table, result.tuning)]
    entries = [f'"{key}": {strict_json(value)}' for key, value in head.items()]
    return "{\n" + ",\n".join([*entries, '"runs": [\n' + ",\n".join(lines) + "\n]"]) + "\n}\n"


def shared_part(records: Sequence[Content]) -> dict[str, Any]:
    """Return what all records have in common, mappings compared entry by entry and lists as a whole.

    Example:
        >>> shared_part([{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}])
        {'a': 1, 'b': {'c': 2}}
    """
    first, *others = records
    common: dict[str, Any] = {}
    for key, value in first.items():
        if not all(key in other for other in others):
            continue
        if all(_same(other[key], value) for other in others):
            common[key] = value
        elif isinstance(value, Mapping) and all(isinstance(other[key], Mapping) for other in others):
            common[key] = shared_part([value, *(other[key] for other in others)])
    return {key: value for key, value in common.items() if value != {} or first[key] == {}}


def own_part(record: Content, shared: Content) -> dict[str, Any]:
    """Return what a record has beyond the shared part; :func:`joined` puts the two together again."""
    own: dict[str, Any] = {}
    for key, value in record.items():
        if key not in shared:
            own[key] = value
        elif not _same(shared[key], value):
            own[key] = own_part(value, shared[key])
    return own


def joined(own: Content, shared: Content) -> dict[str, Any]:
    """Put a record together again.

    Example:
        >>> joined({"b": {"d": 4}}, {"a": 1, "b": {"c": 2}})
        {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    merged = dict(shared)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = joined(value, merged[key]) if both else value
    return merged


def _same(first: Any, second: Any) -> bool:
    # 1, 1.0 and True are equal in Python and different in a file.
    return first is second or json.dumps(first, default=str) == json.dumps(second, default=str)


def _shortened(content: Any, left_out: tuple[str, ...]) -> Any:
    if isinstance(content, Mapping):
        return {key: _shortened(value, left_out) for key, value in content.items() if key not in left_out}
    if isinstance(content, list):
        return [float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for value in content]
    return content


def _settings(cell: Cell) -> list[str]:
    return sorted({setting for setting in cell.overrides if not setting.startswith(_WITHOUT_EFFECT)})


def _listed(sources: Sequence[Any], key: str) -> str:
    return ", ".join(sorted({str(source.get(key)) for source in sources}))


def _cell(entry: Any) -> Cell:
    return Cell(str(entry["row"]), str(entry["column"]), int(entry["seed"]), tuple(entry["overrides"]))
