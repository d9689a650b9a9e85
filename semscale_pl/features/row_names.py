"""What the rows of a file of features are called, where the file says so: its column of paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.arrays import NpzArrays
from semscale_pl.features.feature_files import ending, found_files
from semscale_pl.features.store import found_store, is_store, paths_of

PATH_NAMES = ("path", "paths", "file", "files", "filename", "filenames", "file_name", "filepath", "file_path",
              "image_path", "image_file", "url")  # fmt: skip


def names_of_rows(
    path: Path, rows: Sequence[int], part: str | None = None, places: np.ndarray | None = None
) -> dict[int, str]:
    """Return the names of some rows, counted from 0; none where the file has no column or array of paths.

    Args:
        path: of a file, of shards or of a store that :func:`semscale_pl.features.opening.open_features` opens.
        rows: row numbers.
        part: of a store; "train" unless given.
        places: of the rows that are counted, in the file; None counts all of them.
    """
    if is_store(found_store(path)):
        paths = paths_of(found_store(path), part or "train")
        return {row: paths[row] for row in rows} if paths else {}
    files = found_files(path)
    reader = _READERS.get(ending(files[0]))
    if reader is None or not len(rows):
        return {}
    wanted = np.unique(rows)
    there = wanted if places is None else places[wanted]
    if len(files) == 1:
        return dict(zip(wanted.tolist(), reader(files[0], there), strict=False))
    names = [name for file in files for name in reader(file, None)]
    return {} if len(names) <= there[-1] else {row: names[at] for row, at in zip(wanted.tolist(), there, strict=True)}


def path_column(columns: Iterable[str]) -> str | None:
    """Return the first column with a usual name of a path, or None.

    Example:
        >>> path_column(["x", "file_name"])
        'file_name'
    """
    return next((column for column in columns if column.strip().lower() in PATH_NAMES), None)


def _parquet_names(path: Path, wanted: np.ndarray | None) -> list[str]:
    from semscale_pl.features.parquet import ParquetTable

    return _names_in_table(ParquetTable(path), wanted)


def _arrow_names(path: Path, wanted: np.ndarray | None) -> list[str]:
    from semscale_pl.features.feather import ArrowTable

    return _names_in_table(ArrowTable(path), wanted)


def _names_in_table(table: Any, wanted: np.ndarray | None) -> list[str]:
    from pyarrow import chunked_array, types

    column = path_column(table.schema.names)
    kind = None if column is None else table.schema.field(column).type
    if kind is None or not (types.is_string(kind) or types.is_large_string(kind)):
        return []
    names = chunked_array([batch.column(0) for batch in table.batches([column], 2**16)], kind)
    return [str(name) for name in (names if wanted is None else names.take(wanted)).to_pylist()]


def _csv_names(path: Path, wanted: np.ndarray | None) -> list[str]:
    import pandas as pd

    column = path_column(pd.read_csv(path, nrows=0).columns)
    if column is None:
        return []
    found: list[str] = []
    start = 0
    for chunk in pd.read_csv(path, usecols=[column], dtype=str, keep_default_na=False, chunksize=2**16):
        if wanted is None:
            found += chunk[column].tolist()
            continue
        here = wanted[(wanted >= start) & (wanted < start + len(chunk))] - start
        found += chunk[column].iloc[here].tolist()
        start += len(chunk)
    return found


def _npz_names(path: Path, wanted: np.ndarray | None) -> list[str]:
    return _names_in_arrays(NpzArrays(path), wanted)


def _hdf5_names(path: Path, wanted: np.ndarray | None) -> list[str]:
    from semscale_pl.features.hdf5 import Hdf5Arrays

    return _names_in_arrays(Hdf5Arrays(path), wanted)


def _names_in_arrays(arrays: Any, wanted: np.ndarray | None) -> list[str]:
    key = path_column(arrays.shapes)
    try:
        names = None if key is None else arrays.labels(key)
    except ValueError:  # an array of objects is not unpickled
        names = None
    if names is None or names.dtype.kind != "U" or names.ndim != 1:
        return []
    if wanted is not None and len(names) <= wanted[-1]:
        return []
    return [str(name) for name in (names if wanted is None else names[wanted])]


_READERS: dict[str, Callable[[Path, np.ndarray | None], list[str]]] = {
    ".parquet": _parquet_names,
    ".feather": _arrow_names,
    ".arrow": _arrow_names,
    ".csv": _csv_names,
    ".npz": _npz_names,
    ".h5": _hdf5_names,
    ".hdf5": _hdf5_names,
}
