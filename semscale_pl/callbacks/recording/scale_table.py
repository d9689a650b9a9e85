"""The file scales.csv: a row for every epoch and class, appended as the run goes, cut back when it resumes."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semscale_pl.callbacks.recording.class_panel import Values
from semscale_pl.files import csv_text, write_text

FIXED = ("epoch", "class_index", "class_name", "n")
NAME = "scales.csv"


class ScaleTable:
    """Append per-class values to a CSV file, epoch by epoch; `columns` is its header as it stands.

    An undefined value is an empty cell. A column that first appears in a later epoch is added to the whole file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.columns: list[str] = list(FIXED)

    def cut_back(self, epoch: int, source: Path | None = None) -> None:
        """Keep only the rows of earlier epochs; a half-written last row goes too.

        Args:
            epoch: the first epoch that is yet to come.
            source: file to take the rows from where this table has no file of its own.
        """
        origin = self.path if self.path.exists() or source is None else source
        header, rows = _read(origin)
        # A row cut in the middle by a kill can only be the last one, which never belongs to a finished epoch.
        kept = [row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) < epoch]
        if kept:
            self.columns = header
            self._rewrite(kept)
        else:
            self.columns = list(FIXED)
            self.path.unlink(missing_ok=True)

    def append(self, epoch: int, names: Sequence[str], values: Mapping[str, Values]) -> None:
        """Write one row for each class and hand them to the operating system; None and NaN are undefined."""
        added = [name for name in values if name not in self.columns]
        self.columns = [*self.columns, *added]
        fresh = not self.path.exists()
        if added and not fresh:
            self._rewrite([row + [""] * len(added) for row in _read(self.path)[1]])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cells = {column: [_cell(value) for value in column_values] for column, column_values in values.items()}
        rows = [
            [str(epoch), str(index), name, *(_at(cells.get(column), index) for column in self.columns[3:])]
            for index, name in enumerate(names)
        ]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(csv_text([self.columns, *rows] if fresh else rows))

    def history(self, column: str) -> tuple[list[int], list[list[float]]]:
        """Read one column back: the epochs, and for each the values of its classes, NaN where undefined."""
        header, rows = _read(self.path)
        if column not in header:
            return [], []
        position = header.index(column)
        by_epoch: dict[int, list[float]] = {}
        for row in rows:
            by_epoch.setdefault(int(row[0]), []).append(float(row[position]) if row[position] else math.nan)
        return list(by_epoch), list(by_epoch.values())

    def rows(self, most: int) -> tuple[list[str], list[list[Any]]]:
        """Read the whole table back: the header, and rows of plain values, None where undefined.

        Args:
            most: rows at most; of more, every k-th epoch and the last one are kept.
        """
        header, rows = _read(self.path)
        epochs = list(dict.fromkeys(row[0] for row in rows))
        every = -(-len(rows) // max(1, most))
        kept = {*epochs[:: max(1, every)], *epochs[-1:]} if every > 1 else set(epochs)
        name = header.index("class_name")
        return header, [
            [cell if place == name else _number(cell) for place, cell in enumerate(row)]
            for row in rows
            if row[0] in kept
        ]

    def _rewrite(self, rows: list[list[str]]) -> None:
        write_text(self.path, csv_text([self.columns, *rows]))


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.exists():
        return list(FIXED), []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return (rows[0], rows[1:]) if rows else (list(FIXED), [])


def _cell(value: float | int | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def _number(cell: str) -> float | int | None:
    if not cell:
        return None
    return int(cell) if cell.isdigit() else float(cell)


def _at(cells: list[str] | None, index: int) -> str:
    return cells[index] if cells is not None and index < len(cells) else ""
