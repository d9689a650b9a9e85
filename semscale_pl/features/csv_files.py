"""Features in a .csv file with a header: a label column, and a column for each feature."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.source import choose_key, picked
from semscale_pl.labels import numbers_or_words

_CHUNK_CELLS = 2**20
# Of a number; a class may be called NA or None.
_MISSING = ("", "nan", "NaN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None")


class CsvRows:
    """The number columns of a table; every call reads the file from its beginning."""

    dtype = np.dtype(np.float64)

    def __init__(self, path: Path, columns: list[str], num_rows: int) -> None:
        self._path, self._columns = path, columns
        self.shape: tuple[int, ...] = (num_rows, len(columns))

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return picked(self._blocks(), wanted, size)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        start = 0
        for chunk in _chunks(self._path, self._columns, usecols=self._columns):
            yield start, _numbers(chunk[self._columns], start, self._path.name)
            start += len(chunk)


def csv_parts(path: Path, label_column: str | None = None, labels_elsewhere: bool = False) -> tuple[CsvRows, Any]:
    """Open a table; its cells are checked while the labels are read.

    Args:
        path: of the file.
        label_column: a usual name such as ``label`` unless given.
        labels_elsewhere: whether the table may do without.

    Raises:
        ValueError: there is no label column, a cell is no number, or the file is empty or damaged.
    """
    header = _header(path)
    label = _label_of(header, path.name, label_column, labels_elsewhere)
    columns = [name for name in header if name != label]
    if not columns:
        raise ValueError(f"Expected feature columns in {path.name}, but found none besides `{label}`.")
    labels: list[np.ndarray] = []
    start = 0
    for chunk in _chunks(path, columns, dtype={label: str} if label else None):
        _numbers(chunk[columns], start, path.name)
        if label:
            labels.append(_words(chunk[label], label))
        start += len(chunk)
    if start == 0:
        raise ValueError(f"Expected at least one sample in {path.name}, but got nothing below the first line.")
    return CsvRows(path, columns, start), numbers_or_words(np.concatenate(labels)) if label else None


def csv_labels(path: Path, label_column: str | None = None) -> np.ndarray:
    """Read the label column of a table: the named one, else one with a usual name or the only one.

    Raises:
        ValueError: there is no such column.
    """
    header = _header(path)
    label = _label_of(header, path.name, label_column or (header[0] if len(header) == 1 else None), False)
    parts = [_words(chunk[label], label) for chunk in _chunks(path, [], usecols=[label], dtype={label: str})]
    return numbers_or_words(np.concatenate(parts)) if parts else np.zeros(0)


def _label_of(header: list[str], name: str, wanted: str | None, optional: bool) -> str:
    label = wanted or choose_key(header, name, labels=True)
    if (label and label not in header) or (not label and not optional):
        raise ValueError(
            f"Expected a column `{label or 'label'}` in the first line of {name}, but found "
            f"{', '.join(header[:8])}. Name it with label_column=NAME."
        )
    return label


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = (cells for cells in csv.reader(file) if cells)
            header, first = next(lines, []), next(lines, [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"Expected {path.name} to be a table in UTF-8, but it cannot be read as one.") from error
    if not header:
        raise ValueError(f"Expected a table in {path.name}, but the file is empty.")
    # pandas would take the first column of longer lines for their names, and an index that was saved for a feature.
    if len(first) > len(header):
        raise ValueError(
            f"Expected {len(header)} cells in the first line of numbers of {path.name}, as its header has, but got "
            f"{len(first)}. Name every column."
        )
    if nameless := [number for number, name in enumerate(header, start=1) if not name.strip()]:
        raise ValueError(
            f"Expected a name for every column of {path.name}, but column {nameless[0]} has none: an index? Save the "
            "table without it (index=False in pandas), or name the column."
        )
    if len(set(header)) < len(header):
        twice = next(name for number, name in enumerate(header) if name in header[:number])
        raise ValueError(f"Expected every column of {path.name} once, but `{twice}` comes again. Rename one.")
    return header


def _chunks(path: Path, numbers: list[str], **options: Any) -> Iterator[Any]:
    """Read a table in pieces; only in columns of numbers do words stand for what is missing."""
    import pandas as pd

    missing: dict[str, Any] = {"keep_default_na": False, "na_values": dict.fromkeys(numbers, _MISSING)}
    size = max(1, _CHUNK_CELLS // max(1, len(numbers)))
    try:
        # One type for all chunks: without low_memory=False a column could change it in the middle of one.
        yield from pd.read_csv(path, chunksize=size, low_memory=False, **missing, **options)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"Expected {path.name} to be a table in UTF-8, but {what}. Correct that line.") from error


def _numbers(chunk: Any, start: int, name: str) -> np.ndarray:
    import pandas as pd

    for column in chunk.select_dtypes(exclude=["number", "bool"]):
        parsed = pd.to_numeric(chunk[column], errors="coerce")
        wrong = np.flatnonzero(parsed.isna() & chunk[column].notna())
        if len(wrong):
            raise ValueError(
                f"Expected numbers in {name}, but row {start + int(wrong[0]) + 1:,} of column `{column}` holds "
                f"{str(chunk[column].iloc[wrong[0]])[:40]!r}. Correct it, or drop the column."
            )
        chunk = chunk.assign(**{column: parsed})
    return chunk.to_numpy(dtype=np.float64)


def _words(column: Any, name: str) -> np.ndarray:
    words = np.char.strip(column.fillna("").to_numpy().astype(str))
    missing = int((words == "").sum())
    if missing:
        raise ValueError(f"Expected a class for every sample, but {missing:,} of column `{name}` are empty.")
    return words
