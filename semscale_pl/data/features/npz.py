"""Features in a .npz archive: mapped where they lie uncompressed, else streamed from the compressed member."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semscale_pl.analysis.feature_source import check_matrix, row_dtype
from semscale_pl.data.features.keys import choose_key
from semscale_pl.data.features.labelled import Rows, picked
from semscale_pl.data.features.mapped import MappedRows
from semscale_pl.data.features.npy import read_array, read_header

_BLOCK_BYTES = 2**23
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class NpzRows:
    """A compressed matrix in an archive; every call reads it from its beginning.

    Args:
        path: of the archive.
        member: name in the archive.

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


def npz_parts(path: Path) -> tuple[Rows, np.ndarray | None]:
    """Open an archive that ``np.savez`` or ``np.savez_compressed`` wrote.

    Args:
        path: of the archive, with a member ``features`` and perhaps ``labels``, or others as the messages say.

    Returns:
        Rows, and the labels if there are any.

    Raises:
        ValueError: it is no archive, or lacks the features.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            key, label_key = choose_key(members, path.name), choose_key(members, path.name, labels=True)
            info = archive.getinfo(members[key])
            labels = _labels(archive, members[label_key], path.name) if label_key else None
            if info.compress_type == zipfile.ZIP_STORED:
                _check_sum(archive, info)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"Expected {path.name} to be an archive of np.savez, but it is damaged or no archive. Save it again."
        ) from error
    if info.compress_type == zipfile.ZIP_STORED:
        return _mapped(path, info), labels
    return NpzRows(path, members[key]), labels


def _labels(archive: zipfile.ZipFile, member: str, name: str) -> np.ndarray:
    with archive.open(member) as file:
        return read_array(file, f"{member} of {name}")  # type: ignore[arg-type]


def _check_sum(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Compare a member with its checksum, which mapping it would pass by.

    Raises:
        zipfile.BadZipFile: they differ.
    """
    with archive.open(info) as file:
        while file.read(_BLOCK_BYTES):
            pass


def _mapped(path: Path, info: zipfile.ZipInfo) -> MappedRows:
    """Map a member that is not compressed: it lies in the archive as a .npy file does on the disk."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(name_length + extra_length, 1)
        shape, order, dtype = read_header(file, f"{info.filename} of {path.name}")
        return MappedRows(path, shape, dtype, file.tell(), order, path.name)
