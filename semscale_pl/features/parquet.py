"""Features in a Parquet file, memory-mapped and decoded a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet

from semscale_pl.features.columns import (
    Watch,
    named_columns,
    named_unlike_features,
    numbered_alike,
    refuse,
    shown,
    spelled,
    taken,
)
from semscale_pl.features.source import Asked, Taken, check_matrix, choose_key, picked, row_dtype

_BATCH_BYTES = 2**23


class ParquetRows:
    """The rows of some columns.

    Args:
        file: an open :class:`pyarrow.parquet.ParquetFile`.
        name: of it, for messages.
        columns: number columns, or one column of lists of one length.
        width: d.
        dtype: of the numbers as stored.

    Raises:
        ValueError: there are no rows or no numbers.
    """

    def __init__(self, file: Any, name: str, columns: Sequence[str], width: int, dtype: np.dtype) -> None:
        self._file, self._name, self._columns = file, name, list(columns)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), width)
        check_matrix(self.shape, dtype, name)
        self.dtype = row_dtype(dtype)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``; row groups without one of them are not decoded."""
        return picked(self._blocks(wanted), wanted, size)

    def _blocks(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        height = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
        needed = np.unique(np.searchsorted(self._starts, wanted, side="right") - 1)
        for group in needed.tolist():
            start = int(self._starts[group])
            with _damage_in_words(self._name):
                for batch in self._file.iter_batches(height, row_groups=[group], columns=self._columns):
                    yield start, self._matrix(batch)
                    start += batch.num_rows

    def _matrix(self, batch: Any) -> np.ndarray:
        columns = [_stored(batch.column(name)) for name in self._columns]
        if len(columns) > 1 or not _is_list(columns[0].type):
            return _matrix_of(columns).astype(self.dtype, copy=False)
        (column,), width = columns, self.shape[1]
        if column.null_count or not pc.all(pc.equal(pc.list_value_length(column), width)).as_py():
            raise ValueError(
                f"Expected {width:,} features in every row of `{self._columns[0]}` of {self._name}, but "
                "got rows of other lengths. Leave those out."
            )
        flat = _matrix_of([column.flatten()])
        return flat.reshape(batch.num_rows, width).astype(self.dtype, copy=False)


def parquet_parts(path: Path, asked: Asked | None = None) -> tuple[ParquetRows, np.ndarray | None, Taken]:
    """Open a Parquet file: a column of lists or tensors, or one column a feature; and a column of labels.

    An index that pandas saved is no feature: the file says which columns it is made of.

    Raises:
        ValueError: it is no such file, or a column is no feature.
    """
    asked = asked or Asked()
    with _damage_in_words(path.name):
        file = parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise ValueError(
            f"Expected every column of {path.name} once, but `{twice}` comes {schema.names.count(twice)} times. "
            "Save the table with one of them, or with other names."
        )
    label = _label_of(schema.names, path.name, asked)
    with _damage_in_words(path.name):
        labels = file.read([label]).column(0) if label else None
    if labels is not None and labels.null_count:
        raise ValueError(
            f"Expected a class for every sample, but {labels.null_count:,} of `{label}` are missing. Fill "
            "them, or leave those rows out."
        )
    index = [name for name in _pandas_index(schema) if name != label]
    columns = _feature_columns(file, label, index, path.name, asked)
    width, dtype = _width_and_type(file, columns, path.name)
    rows = ParquetRows(file, path.name, columns, width, dtype)
    lists = width if _is_list(_stored_type(schema.field(columns[0]).type)) else None
    return rows, None if labels is None else _plain(labels), taken(columns, schema.names, label, index, lists)


def _label_of(names: Sequence[str], file: str, asked: Asked) -> str:
    wanted = None if asked.labels_elsewhere and asked.label not in names else asked.label
    label = wanted or choose_key(names, file, labels=True)
    if label and label not in names:
        raise ValueError(
            f"Expected a column `{label}` in {file}, but found {', '.join(names[:8]) or 'none'}. Name one of these "
            "with label_column=NAME."
        )
    return label


def _pandas_index(schema: Any) -> list[str]:
    """Return the columns that are the index of a table of pandas, from what pandas wrote into the file."""
    written = (schema.metadata or {}).get(b"pandas", b"{}")
    try:
        found = json.loads(written).get("index_columns", [])
    except (ValueError, AttributeError):
        found = []
    # A plain range is no column, but a description.
    names = [name for name in found if isinstance(name, str)]
    return [name for name in schema.names if name in names or name.startswith("__index_level_")]


def _feature_columns(file: Any, label: str, index: Sequence[str], name: str, asked: Asked) -> list[str]:
    """Choose the columns of features: the named ones, else a column of lists, else all columns of numbers."""
    schema = file.schema_arrow
    named = (asked.key,) if asked.key else asked.features
    # No glob means the index.
    there = [column for column in schema.names if column not in index or column in named]
    columns = named_columns(there, named, name, label) if named else [column for column in there if column != label]
    lists = [column for column in columns if _is_list(_stored_type(schema.field(column).type))]
    if lists and not named:
        return [choose_key(lists, name) if len(lists) > 1 else lists[0]]
    if lists and len(columns) > 1:
        raise ValueError(
            f"Expected `feature_columns` to name one column of lists or columns of numbers, but got {shown(columns)}. "
            f"Name one, such as feature_columns={lists[0]}."
        )
    if not columns:
        raise ValueError(f"Expected feature columns in {name}, but found none besides the label.")
    if not lists:
        _check_columns(file, columns, there, name, bool(named), label)
    return columns


def _check_columns(file: Any, columns: list[str], there: list[str], name: str, named: bool, label: str) -> None:
    """Refuse columns that are no numbers, and those that look like something else where nobody named them."""
    kinds = {column: file.schema_arrow.field(column).type for column in columns}
    wrong = [column for column in columns if not _is_number(kinds[column])]
    reasons = {} if named else _reasons(file, [column for column in columns if column not in wrong], name)
    if wrong:
        others = [column for column in columns if column not in wrong and column not in reasons]
        cure = f"Leave it out with feature_columns={spelled(others, there)}" if others else "Convert it"
        if not label and not named:
            cure = f"Drop it, or name the label with label_column={wrong[0]}"
        raise ValueError(
            f"Expected the columns of {name} to be numbers besides the label, but `{wrong[0]}` is {kinds[wrong[0]]}. "
            f"{cure}."
        )
    refuse(reasons, columns, there, name)


def _reasons(file: Any, columns: list[str], name: str) -> dict[str, str]:
    """Return why columns of numbers are no features, by their names and their values."""
    reasons = named_unlike_features(columns)
    flags = [column for column in columns if pa.types.is_boolean(file.schema_arrow.field(column).type)]
    watch = Watch(_worth_a_look(file, columns), columns)
    if watch.columns:
        height = max(1, _BATCH_BYTES // (8 * len(watch.columns)))
        with _damage_in_words(name):
            for batch in file.iter_batches(height, columns=watch.columns):
                watch.see(_matrix_of([batch.column(column) for column in watch.columns]))
    return {**watch.reasons(flags), **reasons}


def _width_and_type(file: Any, columns: Sequence[str], name: str) -> tuple[int, np.dtype]:
    kinds = [_stored_type(file.schema_arrow.field(column).type) for column in columns]
    kind, width = kinds[0], len(columns)
    if _is_list(kind):
        with _damage_in_words(name):
            first = next(file.iter_batches(1, columns=list(columns)), None)
        width = 0 if first is None or not first.num_rows else len(_stored(first.column(0)).flatten())
        kind = kind.value_type
    elif any(kind not in (pa.float32(), pa.float16()) for kind in kinds):
        kind = pa.float64()
    if not _is_number(kind):
        remedy = "Flatten each sample to one row" if _is_list(kind) else "Convert them"
        raise ValueError(f"Expected the features of {name} to be numbers, but got {kind}. {remedy}.")
    return width, np.dtype(kind.to_pandas_dtype())


def _worth_a_look(file: Any, columns: list[str]) -> list[str]:
    """Return the columns whose values are looked at: of those numbered alike, only what may number the samples."""
    numbered = numbered_alike(columns)
    rows, found = file.metadata.num_rows, [column for column in columns if column not in numbered]
    places = {file.schema.column(number).path: number for number in range(len(file.schema))}
    for column in numbered:
        groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
        known = [group.column(places[column]).statistics for group in groups]
        bounds = [
            (part.min, part.max)
            for part in known
            if part is not None and part.has_min_max and not isinstance(part.min, bytes)
        ]
        low, high = min((low for low, _ in bounds), default=0), max((high for _, high in bounds), default=0)
        if high - low == rows - 1:
            found.append(column)
    return [column for column in columns if column in found]


@contextmanager
def _damage_in_words(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"Expected {name} to be a Parquet file, but it is damaged or of another format. Save it again."
        ) from error


def _stored_type(kind: Any) -> Any:
    """Return the type that a column of tensors is stored in: lists of one length."""
    return kind.storage_type if isinstance(kind, pa.FixedShapeTensorType) else kind


def _stored(column: Any) -> Any:
    return column.storage if isinstance(column.type, pa.FixedShapeTensorType) else column


def _matrix_of(columns: Sequence[Any]) -> np.ndarray:
    """Return columns of numbers as (n, d); NaN stands where there is none."""
    values = [column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column for column in columns]
    values = [value.cast(pa.float64()) if pa.types.is_decimal(value.type) else value for value in values]
    return np.stack([value.to_numpy(zero_copy_only=False) for value in values], axis=1)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or _is_other_number(kind))


def _is_other_number(kind: Any) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def _plain(labels: Any) -> np.ndarray:
    """Return labels as an array of numbers or of fixed-width words; a column of categories as its words."""
    kind = labels.type.value_type if pa.types.is_dictionary(labels.type) else labels.type
    values = labels.cast(kind) if kind != labels.type else labels
    return np.asarray(values.to_pylist() if not _is_number(kind) else values.to_numpy())
