"""Decode many image files without a model, and name files by their checksum."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from semscale_pl.data.files import read_rgb

# Colour modes that Pillow turns into RGB whatever the pixels are; the others are tried.
_CONVERTIBLE = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")


def decoded(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Decode image files in threads, a few at a time.

    Args:
        paths: of the files.

    Yields:
        Path, Pillow's name of the colour mode, and why it cannot be decoded (empty where it can).
    """
    waiting = iter(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, 1024)):
            yield from pool.map(_decode, chunk)


def _decode(path: str) -> tuple[str, str, str]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format == "JPEG":  # all bytes are read, but the pixels are worked out at an eighth of the size
                image.draft(None, (image.width // 8, image.height // 8))
            image.load()
            mode = image.mode
        if mode not in _CONVERTIBLE:
            read_rgb(path)
        return path, mode, ""
    except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
        return path, "", reason(error)


def reason(error: BaseException) -> str:
    """Put an error of Pillow's into a few words, without the path.

    Example:
        >>> reason(OSError("image file is truncated"))
        'image file is truncated'
    """
    if type(error).__name__ == "UnidentifiedImageError":
        return "no known image format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hexadecimal digits.

    Args:
        path: of the file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
