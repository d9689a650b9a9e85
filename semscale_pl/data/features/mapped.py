"""Rows of a plain array in a file, mapped into memory a few pages at a time."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semscale_pl.analysis.feature_source import check_matrix, row_dtype

# A page fault brings in 64 KiB around it, so this many rows keep at most 32 MiB of the file resident.
_ROWS_AT_ONCE = 512


class MappedRows:
    """A matrix of numbers that lies uncompressed in a file.

    Args:
        path: of the file.
        shape: (N, d).
        dtype: of the numbers as stored.
        offset: of the first number, in bytes.
        order: ``C`` for rows one after the other, ``F`` for columns.
        name: for messages.

    Raises:
        ValueError: the file is shorter than that.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int, order: str = "C", name: str = ""
    ) -> None:
        check_matrix(shape, dtype, name or path.name)
        size = math.prod(shape) * dtype.itemsize
        if path.stat().st_size < offset + size:
            raise ValueError(
                f"Expected {path.name} to hold {size:,} bytes of features, but got "
                f"{path.stat().st_size - offset:,}. The file is cut off: copy or save it again."
            )
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(self._map, dtype, count=math.prod(shape), offset=offset)
        self._matrix = flat.reshape(shape) if order == "C" else flat.reshape(shape[::-1]).T
        self.shape, self.dtype = shape, row_dtype(dtype)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces, see :class:`semscale_pl.analysis.feature_source.FeatureSource`."""
        for start in range(0, len(wanted), size):
            numbers = wanted[start : start + size]
            piece = np.empty((len(numbers), self.shape[1]), self.dtype)
            for inner in range(0, len(numbers), _ROWS_AT_ONCE):
                part = numbers[inner : inner + _ROWS_AT_ONCE]
                piece[inner : inner + len(part)] = self._matrix[part]
                self._release()
            yield piece

    def _release(self) -> None:
        """Let go of the pages; they stay in the system's cache, but do not count as memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
