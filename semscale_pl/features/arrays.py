"""Features in .npy files and .npz archives: mapped into memory where they lie uncompressed, else streamed."""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from semscale_pl.features.named_arrays import array_parts
from semscale_pl.features.source import Asked, Found, Rows, check_matrix, picked, row_dtype

# A page fault brings in up to 2 MiB around it: what lies between the wanted rows becomes resident, too.
_FAULT, _RESIDENT = 2**21, 2**24
# Bytes of a piece of mapped rows, about what the cache of one core takes, and of a block that is decompressed.
_PIECE, _BLOCK_BYTES = 2**20, 2**23
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class MappedRows:
    """A matrix of numbers (N, d) that lies uncompressed in a file.

    Args:
        path, shape, dtype: of the file, the matrix and its numbers as stored.
        offset: of the first number, in bytes.
        order: ``C`` for rows one after the other, ``F`` for columns.
        name: for messages; that of the file unless given.

    Attributes:
        by_rows: whether the rows lie one after the other.
        itemsize: bytes of a number as stored.

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
        self.by_rows, self.itemsize = order == "C", dtype.itemsize
        # np.take would first copy the whole of any other matrix.
        self._is_plain = self.by_rows and self._matrix.dtype == self.dtype and self._matrix.flags.aligned

    def __len__(self) -> int:
        return int(self.shape[0])

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows, see :meth:`semscale_pl.features.source.Rows.rows`."""
        line = self.shape[1] * self.dtype.itemsize
        # Columns are gone through once for every piece: fewer and longer ones.
        height = max(1, min(size, _PIECE * (1 if self.by_rows else 8) // line))
        piece = np.empty((min(height, len(wanted)), self.shape[1]), self.dtype)
        start = 0
        while start < len(wanted):
            numbers = wanted[start : start + height]
            if self.by_rows:
                reach = numbers[0] + max(1, _RESIDENT // (self.shape[1] * self._matrix.itemsize))
                numbers = numbers[: np.searchsorted(numbers, reach)]
            part = piece[: len(numbers)]
            self._gather(numbers, part)
            start += len(numbers)
            yield part

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return rows in any order as a new array (K, d), in half, single or double precision as they are stored."""
        line = self.shape[1] * self.itemsize
        is_run = len(numbers) > 0 and numbers[-1] - numbers[0] == len(numbers) - 1
        # Of rows that lie apart, each fault brings in what is around it.
        size = max(1, _RESIDENT // (line if is_run else line + _FAULT))
        found = np.empty((len(numbers), self.shape[1]), self._matrix.dtype)
        for start in range(0, len(numbers), size):
            wanted, part = numbers[start : start + size], found[start : start + size]
            if self._matrix.flags.aligned:
                np.take(self._matrix, wanted, 0, out=part, mode="clip")
            else:  # which np.take would copy as a whole first
                part[:] = self._matrix[wanted]
            self._release()
        is_float = found.dtype.kind == "f" and found.dtype.isnative
        return found if is_float else found.astype(self.dtype)

    def _gather(self, numbers: np.ndarray, part: np.ndarray) -> None:
        if self._is_plain:
            # In a mode that can fail, numpy gathers into an array of its own first.
            np.take(self._matrix, numbers, 0, out=part, mode="clip")
        elif self.by_rows:
            part[:] = self._matrix[numbers]
        else:
            span = int(numbers[-1] - numbers[0]) * self._matrix.itemsize + _FAULT
            width = max(1, _RESIDENT // span)
            for first in range(0, self.shape[1], width):
                part[:, first : first + width] = self._matrix[:, first : first + width][numbers]
                self._release()
        self._release()

    def _release(self) -> None:
        """Let go of the pages; they stay in the system's cache, but do not count as memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def npy_rows(path: Path, member: zipfile.ZipInfo | None = None) -> MappedRows:
    """Map a .npy file, or a member of an archive that is not compressed: it lies in there as the file does on the disk.

    Raises:
        ValueError: it is no .npy file, holds no matrix of numbers, or is cut off.
    """
    with path.open("rb") as file:
        if member is not None:
            file.seek(member.header_offset)
            _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            file.seek(name_length + extra_length, 1)
        shape, order, dtype = read_header(file, f"{member.filename} of {path.name}" if member else path.name)
        return MappedRows(path, shape, dtype, file.tell(), order)


def read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], str, np.dtype]:
    """Read shape, order and type of an array and leave the file at its first number.

    Raises:
        ValueError: this is no array in numpy's format, or one of Python objects.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy raises whatever the bytes of a foreign header lead to
        raise ValueError(
            f"Expected {name} to be an array in numpy's format, but its header cannot be read. Save it with np.save."
        ) from error
    if dtype.hasobject:
        raise ValueError(
            f"Expected {name} to hold plain numbers or words, but got Python objects, which are pickled. Reading them "
            "could run code: save the array as floats, labels as integers or fixed-width text."
        )
    if any(size < 0 for size in shape):
        raise ValueError(f"Expected {name} to have a shape, but its header says {shape}. Save it again.")
    return shape, "F" if fortran else "C", dtype


def read_array(file: BinaryIO, name: str) -> np.ndarray:
    """Read a whole array of plain values, without unpickling.

    Raises:
        ValueError: it is no such array, or is cut off.
    """
    shape, order, dtype = read_header(file, name)
    count = math.prod(shape)
    try:
        content = file.read(count * dtype.itemsize)
    except (MemoryError, OverflowError):  # what a header claims need not be there
        content = b""
    if len(content) < count * dtype.itemsize:
        raise ValueError(f"Expected {count:,} values in {name}, but it is cut off. Copy or save it again.")
    values = np.frombuffer(content, dtype, count) if dtype.itemsize else np.zeros(count, dtype)
    return values.reshape(shape, order=order)  # type: ignore[call-overload]


class NpzRows:
    """A compressed matrix in an archive; every call reads it from its beginning.

    Raises:
        ValueError: the member holds no matrix of numbers.
    """

    def __init__(self, path: Path, member: str) -> None:
        self._path, self._member = path, member
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            self.shape, order, self._stored = read_header(file, f"{member} of {path.name}")  # type: ignore[arg-type]
        check_matrix(self.shape, self._stored, path.name)
        if order == "F" and min(self.shape) > 1:
            raise ValueError(
                f"Expected the rows of {path.name} one after the other, but they are stored by columns. "
                "Save np.ascontiguousarray(features), or use np.savez without compression."
            )
        self.dtype = row_dtype(self._stored)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return picked(self._blocks(), wanted, size)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        line = self.shape[1] * self._stored.itemsize
        height = max(1, _BLOCK_BYTES // line)
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as file:
                read_header(file, self._member)  # type: ignore[arg-type]
                for start in range(0, self.shape[0], height):
                    count = min(height, self.shape[0] - start)
                    content = file.read(count * line)
                    if len(content) < count * line:
                        raise EOFError
                    block = np.frombuffer(content, self._stored).reshape(count, self.shape[1])
                    yield start, block.astype(self.dtype, copy=False)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(
                f"Expected {self._path.name} to be whole, but it is damaged. Copy or save it again."
            ) from error


class NpzArrays:
    """An archive of ``np.savez`` or ``np.savez_compressed`` as :class:`~semscale_pl.features.named_arrays.NamedArrays`.

    Raises:
        ValueError: it is no archive.
    """

    class_names: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        with _opened(path) as archive:
            self._members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            shapes: dict[str, tuple[int, ...]] = {}
            for key, member in self._members.items():
                with archive.open(member) as file:
                    try:
                        shapes[key] = read_header(file, f"{member} of {path.name}")[0]  # type: ignore[arg-type]
                    except ValueError:
                        shapes[key] = ()  # of one that cannot be read, which need not be the wanted one
        self.shapes: Mapping[str, tuple[int, ...]] = shapes

    def matrix(self, key: str) -> Rows:
        """Map an array of features where it is not compressed, else stream it."""
        with _opened(self._path) as archive:
            info = archive.getinfo(self._members[key])
            if info.compress_type == zipfile.ZIP_STORED:
                with archive.open(info) as file:
                    while file.read(_BLOCK_BYTES):  # compares the member with its checksum, which mapping passes by
                        pass
                return npy_rows(self._path, info)
        return NpzRows(self._path, info.filename)

    def column(self, key: str) -> np.ndarray:
        """Read an array of one number a sample."""
        return self.labels(key)

    def labels(self, key: str) -> np.ndarray:
        """Read labels, or other words."""
        member = self._members[key]
        with _opened(self._path) as archive, archive.open(member) as file:
            return read_array(file, f"{member} of {self.name}")  # type: ignore[arg-type]


def npz_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open an archive of ``np.savez``: its features, and its labels if there are any.

    Raises:
        ValueError: it is no archive, or lacks the features.
    """
    return array_parts(NpzArrays(path), asked or Asked())


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"Expected {path.name} to be an archive of np.savez, but it is damaged or no archive. Save it again."
        ) from error
