"""Where each file of a tar lies: headers are read once and remembered, as a tar has no list of what is in it."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semscale_pl.data.errors import DataError
from semscale_pl.data.packed import state_of_files
from semscale_pl.files import cache_folder, replacing
from semscale_pl.terminal import printable

# The headers of fewer files are read again sooner than an index is worth it.
REMEMBERED_FROM = 256
# What gzip, bzip2, xz and Zstandard files begin with.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")
_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """First byte, number of bytes and name of a file in a tar."""

    start: int
    size: int
    name: str


def members_of(file: Path) -> list[Member]:
    """Return the files in a tar, in order.

    Large indices are kept below SEMSCALE_CACHE or the user's cache folder, by the tar's path, size and time of change.

    Raises:
        DataError: it is compressed, cut off, or no tar.
    """
    try:
        memory = _memory_of(file)
        found = _recalled(memory)
        if found is None:
            found = _read(file)
            if len(found) >= REMEMBERED_FROM:
                _remember(memory, found)
        return found
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"Expected {printable(str(file))} to be a tar file, but it cannot be read: {_in_words(file, error)}."
        ) from error


def _read(file: Path) -> list[Member]:
    found, end = [], 0
    with tarfile.open(file, "r:") as archive:
        for member in archive:
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            if member.isfile():
                found.append(Member(member.offset_data, member.size, member.name))
    # A header that cannot be read looks like the end, behind which there is an empty block.
    with open(file, "rb") as stream:
        stream.seek(end)
        if end and stream.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it is damaged or cut off")
    return found


def _in_words(file: Path, error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    with open(file, "rb") as stream:
        packed = stream.read(4).startswith(_COMPRESSED)
    if packed:
        return "it is compressed, so that no image can be read without all before it. Unpack it first"
    return f"{' '.join(str(error).split()).rstrip('.') or type(error).__name__}. Fetch it again"


def _memory_of(file: Path) -> Path:
    text = os.fsencode(f"{os.path.abspath(file)}\0") + state_of_files([file]).encode()
    return cache_folder() / "tar_index" / f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.npz"


def _recalled(memory: Path) -> list[Member] | None:
    try:
        with np.load(memory, allow_pickle=False) as stored:
            names = stored["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            return [
                Member(*row) for row in zip(stored["starts"].tolist(), stored["sizes"].tolist(), names, strict=True)
            ]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # absent, or damaged: read again
        return None


def _remember(memory: Path, found: list[Member]) -> None:
    starts, sizes, names = zip(*found, strict=True)
    text = "\0".join(names).encode("utf-8", "surrogateescape")
    try:
        with replacing(memory) as partial, partial.open("wb") as stream:
            np.savez(stream, starts=starts, sizes=sizes, names=np.frombuffer(text, np.uint8))
    except OSError as error:  # a full or read-only home must not keep anybody from training
        sys.stderr.write(f"semscale: could not remember what is in {printable(str(memory))}: {error}\n")
