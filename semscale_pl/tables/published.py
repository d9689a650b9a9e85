"""Read published cells and set their statistics beside a table's own; they never stand in for a cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semscale_pl.cli.paths import experiments_dir
from semscale_pl.tables.aggregate import Metrics, Summary, summarize
from semscale_pl.tables.publishing import CELLS
from semscale_pl.tables.schema import Cell, Table
from semscale_pl.tables.shared import joined

RESULTS = Path("experiments/results")
# They change where a run is told of, not what it does.
_NO_MATTER = ("seed=", "logger=", "logger.", "dataset.root=")


@dataclass(frozen=True)
class PublishedCells:
    """Published cells with their records, and the file that they come from."""

    file: Path
    cells: tuple[tuple[Cell, Metrics], ...]


def find_published(table: Table, folders: Iterable[Path] = ()) -> PublishedCells | None:
    """Find the published cells of a table.

    Args:
        table: its name and profile tell the folder.
        folders: of results to look into first; then ``experiments/results`` here, then that of the package.

    Returns:
        The cells; None where none are published.

    Raises:
        ValueError: the file cannot be read.
    """
    for folder in (*folders, RESULTS, experiments_dir() / "results"):
        file = folder / table.full_name / CELLS
        if file.is_file():
            return PublishedCells(file, read_cells(file))
    return None


def read_cells(file: Path) -> tuple[tuple[Cell, Metrics], ...]:
    """Read published cells, each record whole again.

    Args:
        file: a ``cells.json``.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        shared = content.get("shared", {})
        return tuple((_cell(entry), joined(entry["record"], shared)) for entry in content["cells"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Expected {file} to hold published cells, but it cannot be read: {error!r}.") from None


def with_published(summary: Summary, published: PublishedCells | None) -> Summary:
    """Set the published intervals beside a summary's own.

    Args:
        summary: of a table.
        published: its published cells; None leaves the summary as it is.

    Returns:
        The summary, with a remark on where the published cells come from.
    """
    if published is None:
        return summary
    theirs = summarize(summary.table, published.cells)
    intervals = {(e.row, e.column, e.measure): e.interval for e in theirs.entries}
    entries = tuple(replace(e, published=intervals[e.row, e.column, e.measure]) for e in summary.entries)
    remark = provenance_sentence(summary.table, published.cells)
    return replace(summary, entries=entries, remarks=(*summary.remarks, remark))


def provenance_sentence(table: Table, cells: Sequence[tuple[Cell, Metrics]]) -> str:
    """Say what made the published cells, and whether their settings are those of the table.

    Args:
        table: whose cells they are.
        cells: with their records.
    """
    sources = [record.get("provenance") or {} for _, record in cells]
    devices, commits = _listed(sources, "device"), _listed(sources, "commit")
    versions = sorted({str((source.get("versions") or {}).get("torch")) for source in sources})
    text = f"Published: {len(cells)} cells, commit {commits}, torch {', '.join(versions)}, {devices}."
    settings = {(cell.row, cell.column): _settings(cell) for cell in table.cells()}
    known = [cell for cell, _ in cells if (cell.row, cell.column) in settings]
    others = sum(_settings(cell) != settings[cell.row, cell.column] for cell in known)
    return text if not others else f"{text} {others} of them were run with other settings than this table's."


def _settings(cell: Cell) -> list[str]:
    return sorted({setting for setting in cell.overrides if not setting.startswith(_NO_MATTER)})


def _listed(sources: Sequence[Any], key: str) -> str:
    return ", ".join(sorted({str(source.get(key)) for source in sources}))


def _cell(entry: Any) -> Cell:
    return Cell(str(entry["row"]), str(entry["column"]), int(entry["seed"]), tuple(entry["overrides"]))
