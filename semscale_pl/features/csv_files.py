"""Features in a .csv or .tsv file with a header, also compressed by gzip: labels, and a column for each feature."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semscale_pl.features.columns import Watch, named_columns, named_unlike_features, refuse, spelled, taken
from semscale_pl.features.source import Asked, Found, choose_key, picked, split_of

_CHUNK_CELLS = 2**20
# Of a number; a class may be called NA or None.
_MISSING = ("", "nan", "NaN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None")
_DELIMITERS = (",", ";", "\t", "|")
_WITH_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
_FRACTION = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class _Table:
    """A table, and how it is written; `names` is its first line."""

    path: Path
    names: tuple[str, ...]
    encoding: str
    delimiter: str
    decimal: str = "."

    @property
    def name(self) -> str:
        return self.path.name

    def chunks(self, numbers: list[str], **options: Any) -> Iterator[Any]:
        """Read the table in pieces; only in columns of numbers do words stand for what is missing."""
        import pandas as pd

        missing: dict[str, Any] = {"keep_default_na": False, "na_values": dict.fromkeys(numbers, _MISSING)}
        size = max(1, _CHUNK_CELLS // max(1, len(numbers)))
        try:
            yield from pd.read_csv(
                self.path,
                sep=self.delimiter,
                decimal=self.decimal,
                encoding=self.encoding,
                compression="gzip" if _is_compressed(self.path) else None,
                skipinitialspace=True,
                header=0,
                names=list(self.names),
                chunksize=size,
                low_memory=False,  # else a column could change its type in the middle of a chunk
                **missing,
                **options,
            )
        except (pd.errors.ParserError, UnicodeError) as error:
            what = " ".join(str(error).split())
            raise ValueError(f"Expected {self.name} to be a table in UTF-8, but {what}. Correct that line.") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(self.path) from error


class CsvRows:
    """The number columns of a table; every call reads the file from its beginning."""

    dtype = np.dtype(np.float64)

    def __init__(self, table: _Table, columns: list[str], num_rows: int) -> None:
        self._table, self._columns = table, columns
        self.shape: tuple[int, ...] = (num_rows, len(columns))

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return picked(self._blocks(), wanted, size)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        start = 0
        for chunk in self._table.chunks(self._columns, usecols=self._columns):
            yield start, _numbers(chunk, self._columns, start, self._table)
            start += len(chunk)


class _DecimalCommaError(ValueError):
    """A number is written with a comma; the table is read once more with that."""


def csv_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a table; its cells are checked while the labels are read.

    Columns are parted by commas, semicolons or tabs, decimals by points or commas; the text is UTF-8, or UTF-16 with a
    byte order mark.

    Raises:
        ValueError: there is no label column, a cell is no number, a column is no feature, or the file is empty or
            damaged.
    """
    asked = asked or Asked()
    table = _table(path)
    wanted = None if asked.labels_elsewhere and asked.label not in table.names else asked.label
    split = split_of(table.names, path.name, asked.split)
    label = _label_of(table, wanted, asked.labels_elsewhere, split)
    features = (asked.key,) if asked.key else asked.features
    there = [name for name in table.names if name != split]
    columns = (
        named_columns(there, features, table.name, label) if features else [name for name in there if name != label]
    )
    if not columns:
        raise ValueError(f"Expected feature columns in {path.name}, but found none besides `{label}`.")
    try:
        rows, words = _scanned(table, columns, label, split, bool(features))
    except _DecimalCommaError:
        rows, words = _scanned(replace(table, decimal=","), columns, label, split, bool(features))
    return Found(rows, words.get(label), taken(columns, there, label), splits=words.get(split))


def csv_labels(path: Path, label_column: str | None = None) -> np.ndarray:
    """Read the label column of a table: the named one, else one with a usual name or the only one.

    Raises:
        ValueError: there is no such column.
    """
    table = _table(path)
    label = _label_of(table, label_column or (table.names[0] if len(table.names) == 1 else None), False, "")
    parts = [_words(chunk[label], label) for chunk in table.chunks([], usecols=[label], dtype={label: str})]
    return np.concatenate(parts) if parts else np.zeros(0)


def text_encoding(path: Path) -> str:
    """Return the encoding that the first bytes of a text tell, UTF-8 where they tell none."""
    with _binary(path) as file:
        start = file.read(3)
    return next((encoding for mark, encoding in _ENCODINGS.items() if start.startswith(mark)), "utf-8")


def _scanned(
    table: _Table, columns: list[str], label: str, split: str, named: bool
) -> tuple[CsvRows, dict[str, np.ndarray]]:
    """Check the cells of numbers, and read the columns of labels and of parts as words."""
    as_words: dict[str, list[np.ndarray]] = {name: [] for name in (label, split) if name}
    start, watch, flags = 0, Watch(columns, columns), set(columns)
    words: dict[str, str] = {}
    for chunk in table.chunks(columns, dtype=dict.fromkeys(as_words, str)):
        if start == 0 and len(chunk) and not named:
            words = _columns_of_words(chunk, columns, table)
            watch = Watch([column for column in columns if column not in words], columns)
        flags &= set(chunk.select_dtypes("bool").columns)
        numbers = _numbers(chunk, watch.columns, start, table)
        if not named:
            watch.see(numbers)
        for name, read in as_words.items():
            read.append(_words(chunk[name], name))
        start += len(chunk)
    if start == 0:
        raise ValueError(f"Expected at least one sample in {table.name}, but got nothing below the first line.")
    if not named:
        reasons = {**watch.reasons(flags), **named_unlike_features(columns)}
        if words:
            column, others = next(iter(words)), [name for name in watch.columns if name not in reasons]
            cure = f"leave the column out with feature_columns={spelled(others, table.names)}"
            raise ValueError(
                f"Expected numbers in {table.name}, but row 1 of column `{column}` holds {words[column][:40]!r}. "
                f"Correct it, or {cure if others else 'drop the column'}."
            )
        refuse(reasons, columns, table.names, table.name)
    return CsvRows(table, columns, start), {name: np.concatenate(read) for name, read in as_words.items()}


def _columns_of_words(chunk: Any, columns: list[str], table: _Table) -> dict[str, str]:
    """Return the columns whose first cell is no number, and the cell; a decimal comma is read as one at once."""
    words = {}
    for column in chunk[columns].select_dtypes(exclude=["number", "bool"]):
        cell = str(chunk[column].iloc[0])
        try:
            _numbers(chunk[:1], [column], 0, table)
        except _DecimalCommaError:
            raise
        except ValueError:
            words[column] = cell
    return words


def _label_of(table: _Table, wanted: str | None, optional: bool, split: str) -> str:
    label = wanted or choose_key([name for name in table.names if name != split], table.name, labels=True)
    if (label and label not in table.names) or (not label and not optional):
        if len(table.names) == 1:
            raise ValueError(
                f"Expected columns parted by commas, semicolons or tabs in {table.name}, but its first line is one "
                f"name, {table.names[0][:40]!r}. Save it with commas, or pass the labels with labels=FILE."
            )
        raise ValueError(
            f"Expected a column `{label or 'label'}` in the first line of {table.name}, but found "
            f"{', '.join(table.names[:8])}. Name it with label_column=NAME."
        )
    return label


def _table(path: Path) -> _Table:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b" and not _is_compressed(path):
                raise ValueError(f"Expected {path.name} to be text, but it is compressed. Call it {path.name}.gz.")
        encoding = text_encoding(path)
        delimiter, names, first = max(
            ((delimiter, *_first_lines(path, encoding, delimiter)) for delimiter in _DELIMITERS),
            key=lambda found: len(found[1]),
        )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path) from error
    except (csv.Error, UnicodeError) as error:
        raise ValueError(
            f"Expected {path.name} to be a table in UTF-8, but it cannot be read as one. Save it as CSV in UTF-8."
        ) from error
    if not names:
        raise ValueError(f"Expected a table in {path.name}, but the file is empty.")
    if "\0" in "".join(names):
        raise ValueError(f"Expected {path.name} to be a table in UTF-8, but it is none. Save it as CSV in UTF-8.")
    _check_header(names, first, path.name, delimiter)
    return _Table(path, tuple(names), encoding, delimiter)


def _first_lines(path: Path, encoding: str, delimiter: str) -> tuple[list[str], list[str]]:
    with _text(path, encoding) as file:
        lines = (cells for cells in csv.reader(file, delimiter=delimiter, skipinitialspace=True) if cells)
        names, first = next(lines, []), next(lines, [])
    return [name.strip() for name in names], first


def _check_header(names: list[str], first: list[str], file: str, delimiter: str) -> None:
    # pandas would take the first column of longer lines for their names, and an index that was saved for a feature.
    if len(first) > len(names):
        remedy = "Name every column"
        if names[0].lower().startswith(("sep=", "#")):
            remedy = f"Leave out the first line, {names[0]!r}"
        elif not "".join(first[len(names) :]).strip():
            remedy = f"Take the {delimiter!r} from the end of each line"
        elif delimiter == "," and len(first) >= 2 * len(names) - 1 > 1:
            remedy = "Part columns by semicolons where commas are decimal"
        raise ValueError(
            f"Expected {len(names)} cells in the first line of numbers of {file}, as its header has, but got "
            f"{len(first)}. {remedy}."
        )
    if nameless := [number for number, name in enumerate(names, start=1) if not name]:
        raise ValueError(
            f"Expected a name for every column of {file}, but column {nameless[0]} has none: an index? Save the "
            "table without it (index=False in pandas), or name the column."
        )
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"Expected every column of {file} once, but `{twice}` comes again. Rename one.")
    if sum(bool(_FRACTION.fullmatch(name)) for name in names) > len(names) // 2:
        raise ValueError(
            f"Expected names in the first line of {file}, but got numbers such as {names[0]!r}. Add a first line."
        )


def _numbers(chunk: Any, columns: list[str], start: int, table: _Table) -> np.ndarray:
    import pandas as pd

    chunk = chunk[columns]
    for column in chunk.select_dtypes(exclude=["number", "bool"]):
        text = chunk[column].astype(str).where(chunk[column].notna())
        if table.decimal == ",":
            text = text.where(~text.str.contains(".", regex=False, na=False)).str.replace(",", ".")
        parsed = pd.to_numeric(text, errors="coerce")
        wrong = np.flatnonzero(parsed.isna() & chunk[column].notna())
        if len(wrong):
            raise _no_number(str(chunk[column].iloc[wrong[0]]), start + int(wrong[0]) + 1, column, table)
        chunk = chunk.assign(**{column: parsed})
    return chunk.to_numpy(dtype=np.float64)


def _no_number(cell: str, row: int, column: str, table: _Table) -> ValueError:
    if table.decimal == "." and _WITH_COMMA.fullmatch(cell):
        return _DecimalCommaError(cell)
    what = f"Expected numbers in {table.name}, but row {row:,} of column `{column}` holds {cell[:40]!r}"
    if table.decimal == "," and "." in cell and "," not in cell:
        return ValueError(f"{what}, a point where others have decimal commas. Write all of them with points.")
    return ValueError(f"{what}. Correct it, or leave the column out with feature_columns=NAMES of the others.")


def _words(column: Any, name: str) -> np.ndarray:
    words = np.char.strip(column.fillna("").to_numpy().astype(str))
    missing = int((words == "").sum())
    if missing:
        raise ValueError(
            f"Expected a class for every sample, but {missing:,} of column `{name}` are empty. Fill them, or "
            "leave those rows out."
        )
    return words


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _binary(path: Path) -> Any:
    return gzip.open(path, "rb") if _is_compressed(path) else path.open("rb")


def _text(path: Path, encoding: str) -> TextIO:
    if _is_compressed(path):
        return gzip.open(path, "rt", encoding=encoding, newline="")  # type: ignore[return-value]
    return path.open(encoding=encoding, newline="")


def _damaged(path: Path) -> ValueError:
    return ValueError(f"Expected {path.name} to be a file of gzip, but it is damaged or none. Compress it again.")
