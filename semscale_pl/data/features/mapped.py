"""Rows of a plain array in a file, mapped into memory a few pages at a time."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semscale_pl.analysis.feature_source import check_matrix, row_dtype

# A page fault brings in up to 2 MiB around it: what lies between the wanted rows becomes resident, too.
_FAULT, _RESIDENT = 2**21, 2**24
# Bytes of a piece, about what the cache of one core takes.
_PIECE = 2**20


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
        self._by_rows = order == "C"
        # np.take would first copy the whole of any other matrix.
        self._is_plain = self._by_rows and self._matrix.dtype == self.dtype and self._matrix.flags.aligned

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces, see :class:`semscale_pl.analysis.feature_source.FeatureSource`."""
        line = self.shape[1] * self.dtype.itemsize
        # Columns are gone through once for every piece: fewer and longer ones.
        height = max(1, min(size, _PIECE * (1 if self._by_rows else 8) // line))
        piece = np.empty((min(height, len(wanted)), self.shape[1]), self.dtype)
        start = 0
        while start < len(wanted):
            numbers = wanted[start : start + height]
            if self._by_rows:
                reach = numbers[0] + max(1, _RESIDENT // (self.shape[1] * self._matrix.itemsize))
                numbers = numbers[: np.searchsorted(numbers, reach)]
            part = piece[: len(numbers)]
            self._gather(numbers, part)
            start += len(numbers)
            yield part

    def _gather(self, numbers: np.ndarray, part: np.ndarray) -> None:
        if not self._by_rows:
            span = int(numbers[-1] - numbers[0]) * self._matrix.itemsize + _FAULT
            width = max(1, _RESIDENT // span)
            for first in range(0, self.shape[1], width):
                part[:, first : first + width] = self._matrix[:, first : first + width][numbers]
                self._release()
        elif self._is_plain:
            # In a mode that can fail, numpy gathers into an array of its own first.
            np.take(self._matrix, numbers, 0, out=part, mode="clip")
            self._release()
        else:
            part[:] = self._matrix[numbers]
            self._release()

    def _release(self) -> None:
        """Let go of the pages; they stay in the system's cache, but do not count as memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
