"""Features in a Parquet file, memory-mapped and decoded a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from semscale_pl.features.source import FEATURE_KEYS, check_matrix, choose_key, picked, row_dtype

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
        columns = [batch.column(name) for name in self._columns]
        if len(columns) > 1 or not _is_list(columns[0].type):
            values = [column.to_numpy(zero_copy_only=False) for column in columns]
            return np.stack(values, axis=1).astype(self.dtype, copy=False)
        flat = columns[0].flatten().to_numpy(zero_copy_only=False)
        if columns[0].null_count or len(flat) != batch.num_rows * self.shape[1]:
            raise ValueError(
                f"Expected {self.shape[1]:,} features in every row of `{self._columns[0]}` of {self._name}, but "
                "got rows of other lengths. Leave those out."
            )
        return flat.reshape(batch.num_rows, self.shape[1]).astype(self.dtype, copy=False)


def parquet_parts(path: Path, label_column: str | None = None) -> tuple[ParquetRows, np.ndarray | None]:
    """Open a Parquet file: a column of lists named like features, or one column a feature; and a column of labels.

    The labels stand in ``label_column``, or in a column with a usual name such as ``label``.

    Raises:
        ValueError: it is no such file.
    """
    with _damage_in_words(path.name):
        file = parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    schema = file.schema_arrow
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    label = label_column or choose_key(names, path.name, labels=True)
    if label and label not in names:
        raise ValueError(f"Expected a column `{label}` in {path.name}, but found {', '.join(names[:8]) or 'none'}.")
    with _damage_in_words(path.name):
        labels = file.read([label]).column(0) if label else None
    if labels is not None and labels.null_count:
        raise ValueError(f"Expected a class for every sample, but {labels.null_count:,} of `{label}` are missing.")
    rows = ParquetRows(file, path.name, *_feature_columns(file, [name for name in names if name != label], path.name))
    return rows, None if labels is None else _plain(labels)


def _feature_columns(file: Any, names: list[str], name: str) -> tuple[list[str], int, np.dtype]:
    schema = file.schema_arrow
    lists = [column for column in names if _is_list(schema.field(column).type)]
    if lists:
        column = choose_key(lists, name) if len(lists) > 1 or lists[0] in FEATURE_KEYS else lists[0]
        kind = schema.field(column).type.value_type
        with _damage_in_words(name):
            first = next(file.iter_batches(1, columns=[column]), None)
        width = 0 if first is None or not first.num_rows else len(first.column(0).flatten())
        columns = [column]
    else:
        wrong = [column for column in names if not _is_number(schema.field(column).type)]
        if wrong:
            raise ValueError(
                f"Expected the columns of {name} to be numbers besides the label, but `{wrong[0]}` is "
                f"{schema.field(wrong[0]).type}. Drop it, or name the label with label_column={wrong[0]}."
            )
        if not names:
            raise ValueError(f"Expected feature columns in {name}, but found none besides the label.")
        kind, width, columns = schema.field(names[0]).type, len(names), names
        if any(schema.field(column).type not in (pa.float32(), pa.float16()) for column in names):
            kind = pa.float64()
    if not _is_number(kind):
        raise ValueError(f"Expected the features of {name} to be numbers, but got {kind}. Convert them.")
    return columns, width, np.dtype(kind.to_pandas_dtype())


@contextmanager
def _damage_in_words(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"Expected {name} to be a Parquet file, but it is damaged or of another format. Save it again."
        ) from error


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _plain(labels: Any) -> np.ndarray:
    """Return labels as an array of numbers or of fixed-width words; a column of categories as its words."""
    kind = labels.type.value_type if pa.types.is_dictionary(labels.type) else labels.type
    values = labels.cast(kind) if kind != labels.type else labels
    return np.asarray(values.to_pylist() if not _is_number(kind) else values.to_numpy())
