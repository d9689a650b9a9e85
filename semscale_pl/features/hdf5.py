"""Features in a file of HDF5, mapped into memory where they lie in one piece, else read in blocks; needs the extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.extras import require
from semscale_pl.features.arrays import MappedRows
from semscale_pl.features.named_arrays import CLASS_NAME_KEYS, array_parts
from semscale_pl.features.source import Asked, Found, Rows, check_matrix, picked, row_dtype

_BLOCK_BYTES = 2**23


class Hdf5Rows:
    """A matrix that is stored in chunks; blocks without a wanted row are not read.

    Raises:
        ValueError: it holds no matrix of numbers.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype, chunk: int) -> None:
        check_matrix(shape, dtype, path.name)
        self.shape, self.dtype, self._path, self._key = shape, row_dtype(dtype), path, key
        # A chunk is decompressed as a whole: blocks are whole numbers of them.
        self._height = chunk * max(1, _BLOCK_BYTES // (shape[1] * dtype.itemsize) // chunk)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return picked(self._blocks(wanted), wanted, size)

    def _blocks(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        with _opened(self._path) as file:
            for number in np.unique(wanted // self._height).tolist():
                start = number * self._height
                yield start, file[self._key][start : start + self._height].astype(self.dtype, copy=False)


class Hdf5Arrays:
    """The datasets of one group of a file as :class:`~semscale_pl.features.named_arrays.NamedArrays`.

    Args:
        path: of the file.
        group: within it; a group that holds nothing but one other group stands for that one.

    Raises:
        ValueError: it is no such file, damaged, or a table of pandas.
    """

    def __init__(self, path: Path, group: str = "/") -> None:
        self.name, self._path = path.name, path
        shapes: dict[str, tuple[int, ...]] = {}
        with _opened(path) as file:
            top = file[group]
            while len(top) == 1 and hasattr(only := next(iter(top.values())), "keys"):
                top = only
            _refuse_pandas(top, path.name)
            self._group = top.name.rstrip("/")
            top.visititems(lambda key, item: shapes.update({key: item.shape or ()}) if _is_dataset(item) else None)
            self.class_names = _names_at(file, top, *(top[key] for key in shapes))
        self.shapes: Mapping[str, tuple[int, ...]] = shapes

    def matrix(self, key: str) -> Rows:
        """Map a dataset of features where it lies in one piece, else read it in blocks."""
        with _opened(self._path) as file:
            found = file[f"{self._group}/{key}"]
            plain = found.chunks is None and not found.external and not found.is_virtual and not file.userblock_size
            offset = found.id.get_offset() if plain else None
            if offset is not None and found.dtype.kind in "fiu":
                return MappedRows(self._path, found.shape, found.dtype, offset)
            return Hdf5Rows(self._path, found.name, found.shape, found.dtype, (found.chunks or (1,))[0])

    def column(self, key: str) -> np.ndarray:
        """Read a dataset of one number a sample."""
        return self.labels(key)

    def labels(self, key: str) -> np.ndarray:
        """Read labels, or other words."""
        import h5py

        with _opened(self._path) as file:
            found = file[f"{self._group}/{key}"]
            is_text = h5py.check_string_dtype(found.dtype) is not None
            return np.asarray(found.asstr()[()].tolist() if is_text else found[()])


def hdf5_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a file of HDF5: its features, and its labels if there are any.

    Features within a group, ``feature_key=train/features``, come with what lies beside them, and so do those of a group
    that is named itself, ``feature_key=train``.

    Raises:
        ValueError: h5py is not installed, it is no such file, or it lacks the features.
    """
    require("h5py", path.name)
    asked = asked or Asked()
    if asked.key and _is_group(path, asked.key):
        return array_parts(Hdf5Arrays(path, asked.key), replace(asked, key=None))
    group, _, key = (asked.key or "").strip("/").rpartition("/")
    others = {value.strip("/").rpartition("/")[0] for value in (asked.label, asked.split) if value}
    if not group or not _has(path, group, key) or others - {"", group}:
        return array_parts(Hdf5Arrays(path), asked)
    within = replace(asked, key=key, label=_last(asked.label), split=_last(asked.split))
    return array_parts(Hdf5Arrays(path, group), within)


def _last(key: str | None) -> str | None:
    return key.strip("/").rpartition("/")[2] if key else None


def _has(path: Path, group: str, key: str) -> bool:
    with _opened(path) as file:
        return f"{group}/{key}" in file


def _is_group(path: Path, key: str) -> bool:
    with _opened(path) as file:
        return hasattr(file.get(key), "keys")


def _is_dataset(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Dataset)


def _names_at(*places: Any) -> tuple[str, ...] | None:
    """Return the names of the classes that an attribute of the file, the group or a dataset holds."""
    for place in places:
        for key in CLASS_NAME_KEYS:
            if key in place.attrs:
                found = np.asarray(place.attrs[key]).ravel().tolist()
                return tuple(word.decode() if isinstance(word, bytes) else str(word) for word in found)
    return None


def _refuse_pandas(group: Any, name: str) -> None:
    if "pandas_type" in group.attrs or any("pandas_type" in item.attrs for item in group.values()):
        raise ValueError(
            f"Expected datasets of numbers in {name}, but got a table that pandas wrote in its own way. Save it with "
            "to_parquet."
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError) as error:  # of HDF5, also for a chunk that cannot be decompressed
        raise ValueError(
            f"Expected {path.name} to be a file of HDF5, but it is damaged, cut off or of another format. Copy or save "
            "it again."
        ) from error
