"""Images that lie in a larger file, such as a tar shard or a Parquet file, named as if that were a folder; no torch."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol


class Pack(Protocol):
    """The images of some files, each to be read by its number.

    It goes to the workers of a loader, forked or spawned: files are opened in the process that reads.

    Attributes:
        files: that hold the images.
        state: their sizes and times of change, see :func:`state_of_files`.
    """

    files: list[str]
    state: str

    def read(self, number: int) -> bytes:
        """Return the bytes of an image, as its own file would hold them."""


class PackedFile(str):
    """The name of an image in a larger file, as `shard-0001.tar/000123.jpg`, which knows how its bytes are read.

    It takes the place of a path wherever images are named, counted, compared or decoded.
    """

    __slots__ = ("number", "pack")
    pack: Pack
    number: int

    def __new__(cls, name: str, pack: Pack, number: int) -> PackedFile:
        """Name an image, the ``number``-th of ``pack``."""
        self = super().__new__(cls, name)
        self.pack, self.number = pack, number
        return self

    def __reduce__(self) -> Any:
        return PackedFile, (str(self), self.pack, self.number)


def opened(path: str | os.PathLike[str]) -> Any:
    """Return what Pillow opens for a path: itself, or the bytes of an image in a larger file."""
    return io.BytesIO(path.pack.read(path.number)) if isinstance(path, PackedFile) else path


def state_of(path: str) -> str:
    """Return size and time of change of an image's file, or of the files that it lies in.

    Raises:
        OSError: the file is not there.
    """
    return path.pack.state if isinstance(path, PackedFile) else state_of_files([path])


def state_of_files(files: Iterable[str | Path]) -> str:
    """Return size and time of change (ns) of files, apart by blanks."""
    return " ".join(f"{found.st_size} {found.st_mtime_ns}" for found in map(os.stat, files))
