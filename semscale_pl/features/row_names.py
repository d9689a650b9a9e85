"""What the rows of a file of features are called, where the file says so: its column of paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semscale_pl.features.store import found_store, is_store, paths_of

PATH_NAMES = ("path", "paths", "file", "files", "filename", "filenames", "file_name", "filepath", "file_path",
              "image_path", "image_file", "url")  # fmt: skip


def names_of_rows(path: Path, rows: Sequence[int], part: str | None = None) -> dict[int, str]:
    """Return the names of some rows, counted from 0; none where the file has no column or array of paths.

    Args:
        path: of a file or store that :func:`semscale_pl.features.opening.open_features` opens.
        rows: row numbers.
        part: of a store; "train" unless given.
    """
    if is_store(found_store(path)):
        paths = paths_of(found_store(path), part or "train")
        return {row: paths[row] for row in rows} if paths else {}
    readers = {".parquet": _parquet_names, ".csv": _csv_names, ".npz": _npz_names}
    reader = readers.get(path.suffix.lower())
    if reader is None or not rows:
        return {}
    wanted = np.unique(rows)
    return dict(zip(wanted.tolist(), reader(path, wanted), strict=False))


def path_column(columns: Iterable[str]) -> str | None:
    """Return the first column with a usual name of a path, or None.

    Example:
        >>> path_column(["x", "file_name"])
        'file_name'
    """
    return next((column for column in columns if column.strip().lower() in PATH_NAMES), None)


def _parquet_names(path: Path, wanted: np.ndarray) -> list[str]:
    from pyarrow import parquet, types

    schema = parquet.read_schema(path)
    column = path_column(schema.names)
    if column is None or not (
        types.is_string(schema.field(column).type) or types.is_large_string(schema.field(column).type)
    ):
        return []
    with parquet.ParquetFile(path, memory_map=True) as file:
        return [str(name) for name in file.read([column]).column(0).take(wanted).to_pylist()]


def _csv_names(path: Path, wanted: np.ndarray) -> list[str]:
    import pandas as pd

    column = path_column(pd.read_csv(path, nrows=0).columns)
    if column is None:
        return []
    found: list[str] = []
    start = 0
    for chunk in pd.read_csv(path, usecols=[column], dtype=str, keep_default_na=False, chunksize=2**16):
        here = wanted[(wanted >= start) & (wanted < start + len(chunk))] - start
        found += chunk[column].iloc[here].tolist()
        start += len(chunk)
    return found


def _npz_names(path: Path, wanted: np.ndarray) -> list[str]:
    with np.load(path, allow_pickle=False) as archive:
        key = path_column(archive.files)
        try:
            names = None if key is None else archive[key]
        except ValueError:  # an array of objects is not unpickled
            names = None
    if names is None or names.dtype.kind != "U" or names.ndim != 1 or len(names) <= wanted[-1]:
        return []
    return [str(name) for name in names[wanted]]
