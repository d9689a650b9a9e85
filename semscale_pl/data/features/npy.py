"""Features in a .npy file, mapped into memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from semscale_pl.data.features.mapped import MappedRows


def npy_rows(path: Path) -> MappedRows:
    """Open the features of a .npy file.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no .npy file, holds no matrix of numbers, or is cut off.
    """
    with path.open("rb") as file:
        shape, order, dtype = read_header(file, path.name)
        offset = file.tell()
    return MappedRows(path, shape, dtype, offset, order)


def read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], str, np.dtype]:
    """Read shape, order and type of an array and leave the file at its first number.

    Args:
        file: at the beginning of the array.
        name: for messages.

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
    refuse_objects(dtype, name)
    if any(size < 0 for size in shape):
        raise ValueError(f"Expected {name} to have a shape, but its header says {shape}. Save it again.")
    return shape, "F" if fortran else "C", dtype


def refuse_objects(dtype: np.dtype, name: str) -> None:
    """Refuse an array that only unpickling could read.

    Raises:
        ValueError: the type holds Python objects.
    """
    if dtype.hasobject:
        raise ValueError(
            f"Expected {name} to hold plain numbers or words, but got Python objects, which are pickled. Reading them "
            "could run code: save the array as floats, labels as integers or fixed-width text."
        )


def npy_labels(path: Path) -> np.ndarray:
    """Read a whole .npy file, without unpickling.

    Raises:
        ValueError: it is no array of plain values, or is cut off.
    """
    with path.open("rb") as file:
        return read_array(file, path.name)


def read_array(file: BinaryIO, name: str) -> np.ndarray:
    """Read a whole array of plain values.

    Args:
        file: at its beginning.
        name: for messages.

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
