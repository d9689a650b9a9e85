"""Features in tables of Arrow, decoded a batch at a time: columns of numbers, or one column of lists or tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

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
from semscale_pl.features.source import Asked, Found, check_matrix, choose_key, picked, row_dtype, split_of

_BATCH_BYTES = 2**23


class Table(Protocol):
    """A table in a file, read by columns and groups of rows.

    Attributes:
        name: of the file, for messages.
        schema: of pyarrow.
        starts: (G + 1,) number of the first row of each group, and of all rows.
    """

    name: str
    schema: Any
    starts: np.ndarray

    def batches(self, columns: Sequence[str], height: int, group: int | None = None) -> Iterator[Any]:
        """Yield record batches of at most ``height`` rows, of one group or of all."""
        ...

    def bounds(self, column: str) -> tuple[float, float] | None:
        """Return the lowest and the highest number of a column; None where the file does not say."""
        ...


class ArrowRows:
    """The rows of some columns.

    Args:
        table: that they are in.
        columns: number columns, or one column of lists of one length.
        width: d.
        dtype: of the numbers as stored.

    Raises:
        ValueError: there are no rows or no numbers.
    """

    def __init__(self, table: Table, columns: Sequence[str], width: int, dtype: np.dtype) -> None:
        self._table, self._columns = table, list(columns)
        self.shape: tuple[int, ...] = (int(table.starts[-1]), width)
        check_matrix(self.shape, dtype, table.name)
        self.dtype = row_dtype(dtype)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``; groups of rows without one of them are not decoded."""
        return picked(self._blocks(wanted), wanted, size)

    def _blocks(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        height = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
        needed = np.unique(np.searchsorted(self._table.starts, wanted, side="right") - 1)
        for group in needed.tolist():
            start = int(self._table.starts[group])
            for batch in self._table.batches(self._columns, height, group):
                yield start, self._matrix(batch)
                start += batch.num_rows

    def _matrix(self, batch: Any) -> np.ndarray:
        columns = [_stored(batch.column(name)) for name in self._columns]
        if len(columns) > 1 or not _is_list(columns[0].type):
            return _matrix_of(columns).astype(self.dtype, copy=False)
        (column,), width = columns, self.shape[1]
        if column.null_count or not pc.all(pc.equal(pc.list_value_length(column), width)).as_py():
            raise ValueError(
                f"Expected {width:,} features in every row of `{self._columns[0]}` of {self._table.name}, but "
                "got rows of other lengths. Leave those out."
            )
        flat = _matrix_of([column.flatten()])
        return flat.reshape(batch.num_rows, width).astype(self.dtype, copy=False)


def table_parts(table: Table, asked: Asked | None = None) -> Found:
    """Find in a table the features: a column of lists or tensors, or one column a feature; and a column of labels.

    An index that pandas saved is no feature: the file says which columns it is made of. Classes have the names that
    Hugging Face's `datasets` wrote into it.

    Raises:
        ValueError: a column is missing, comes twice or is no feature.
    """
    asked = asked or Asked()
    schema, name = table.schema, table.name
    if len(set(schema.names)) < len(schema.names):
        twice = next(column for column in schema.names if schema.names.count(column) > 1)
        raise ValueError(
            f"Expected every column of {name} once, but `{twice}` comes {schema.names.count(twice)} times. "
            "Save the table with one of them, or with other names."
        )
    label, split = _label_of(schema.names, name, asked), split_of(schema.names, name, asked.split)
    labels = _whole(table, label, "a class") if label else None
    splits = _whole(table, split, "a part").astype(np.str_) if split else None
    index = [column for column in _pandas_index(schema) if column not in (label, split)]
    columns = _feature_columns(table, label, split, index, asked)
    width, dtype = _width_and_type(table, columns)
    rows = ArrowRows(table, columns, width, dtype)
    lists = width if _is_list(_stored_type(schema.field(columns[0]).type)) else None
    there = [column for column in schema.names if column != split]
    described = names_in_description(schema.metadata, label)
    names = None if described is None or (labels is not None and labels.dtype.kind == "U") else tuple(described)
    return Found(rows, labels, taken(columns, there, label, index, lists), names, splits)


def names_in_description(metadata: Any, label_column: str) -> list[str] | None:
    """Return the classes' names in what Hugging Face's `datasets` writes into a schema; None where there are none."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label_column]
        names = feature["names"]
        return [str(name) for name in names] if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError):
        return None


def _whole(table: Table, column: str, what: str) -> np.ndarray:
    """Read a column of one value a sample."""
    kind = table.schema.field(column).type
    values = pa.chunked_array([batch.column(0) for batch in table.batches([column], 2**16)], kind)
    if values.null_count:
        raise ValueError(
            f"Expected {what} for every sample, but {values.null_count:,} of `{column}` are missing. Fill "
            "them, or leave those rows out."
        )
    return _plain(values)


def _label_of(names: Sequence[str], file: str, asked: Asked) -> str:
    wanted = None if asked.labels_elsewhere and asked.label not in names else asked.label
    label = wanted or choose_key([name for name in names if name != asked.split], file, labels=True)
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


def _feature_columns(table: Table, label: str, split: str, index: Sequence[str], asked: Asked) -> list[str]:
    """Choose the columns of features: the named ones, else a column of lists, else all columns of numbers."""
    schema, name = table.schema, table.name
    named = (asked.key,) if asked.key else asked.features
    # No glob means the index.
    there = [column for column in schema.names if column != split and (column not in index or column in named)]
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
        _check_columns(table, columns, there, bool(named), label)
    return columns


def _check_columns(table: Table, columns: list[str], there: list[str], named: bool, label: str) -> None:
    """Refuse columns that are no numbers, and those that look like something else where nobody named them."""
    kinds = {column: table.schema.field(column).type for column in columns}
    wrong = [column for column in columns if not _is_number(kinds[column])]
    reasons = {} if named else _reasons(table, [column for column in columns if column not in wrong])
    if wrong:
        others = [column for column in columns if column not in wrong and column not in reasons]
        cure = f"Leave it out with feature_columns={spelled(others, there)}" if others else "Convert it"
        if not label and not named:
            cure = f"Drop it, or name the label with label_column={wrong[0]}"
        raise ValueError(
            f"Expected the columns of {table.name} to be numbers besides the label, but `{wrong[0]}` is "
            f"{kinds[wrong[0]]}. {cure}."
        )
    refuse(reasons, columns, there, table.name)


def _reasons(table: Table, columns: list[str]) -> dict[str, str]:
    """Return why columns of numbers are no features, by their names and their values."""
    reasons = named_unlike_features(columns)
    flags = [column for column in columns if pa.types.is_boolean(table.schema.field(column).type)]
    watch = Watch(_worth_a_look(table, columns), columns)
    if watch.columns:
        height = max(1, _BATCH_BYTES // (8 * len(watch.columns)))
        for batch in table.batches(watch.columns, height):
            watch.see(_matrix_of([batch.column(column) for column in watch.columns]))
    return {**watch.reasons(flags), **reasons}


def _width_and_type(table: Table, columns: Sequence[str]) -> tuple[int, np.dtype]:
    kinds = [_stored_type(table.schema.field(column).type) for column in columns]
    kind, width = kinds[0], len(columns)
    if _is_list(kind):
        first = next((batch for batch in table.batches(columns, 1) if batch.num_rows), None)
        width = 0 if first is None else len(_stored(first.column(0)).flatten())
        kind = kind.value_type
    elif any(kind not in (pa.float32(), pa.float16()) for kind in kinds):
        kind = pa.float64()
    if not _is_number(kind):
        remedy = "Flatten each sample to one row" if _is_list(kind) else "Convert them"
        raise ValueError(f"Expected the features of {table.name} to be numbers, but got {kind}. {remedy}.")
    return width, np.dtype(kind.to_pandas_dtype())


def _worth_a_look(table: Table, columns: list[str]) -> list[str]:
    """Return the columns whose values are looked at: of those numbered alike, only what may number the samples."""
    numbered, rows = numbered_alike(columns), int(table.starts[-1])
    return [name for name in columns if name not in numbered or _may_number(table.bounds(name), rows)]


def _may_number(bounds: tuple[float, float] | None, rows: int) -> bool:
    return bounds is None or bounds[1] - bounds[0] == rows - 1


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
