"""Image files without torch: found below a folder, decoded to RGB, and a reason in words where that fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
# Colour modes that Pillow turns into RGB whatever the pixels are; the others are tried.
_CONVERTIBLE = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files below a folder, sorted, without hidden ones: `._1.jpg` of macOS is no image."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [Path(parent, name) for name in names if name.lower().endswith(SUFFIXES) and not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is not for the user's eyes, as `.ipynb_checkpoints`."""
    return name.startswith(".")


def shown(path: Path, folder: str | os.PathLike[str]) -> str:
    """Return a path relative to its folder, with forward slashes; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def read_rgb(path: str | Path) -> Any:
    """Decode an image file to RGB; opacity is dropped, 16-bit grey keeps its upper byte.

    Raises:
        ValueError: the pixels are 32-bit numbers, which say nothing of where black and white lie.
    """
    from PIL import Image

    with Image.open(path) as image:
        # Pillow would clip at 255 instead of scaling; its version 10 has 16-bit PNG files in the mode of 32 bits.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError(f"32-bit pixels (mode {image.mode}) have no fixed range: save it with 8 or 16 bits")
        if image.mode == "P" and "transparency" in image.info:  # Pillow warns of a direct way
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")


def decoded(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Decode image files in threads, a few at a time.

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


class Decoded(NamedTuple):
    """One file of a list: the model's input, or None and why it cannot be read, in one line."""

    position: int
    image: Any
    problem: str = ""


class DecodedImages:
    """The files of a list as model inputs, for a torch DataLoader with or without workers."""

    def __init__(self, paths: Sequence[Path], model_input: Callable[[Any], Any]) -> None:
        self.paths, self.model_input = [os.fspath(path) for path in paths], model_input

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Decoded:
        try:
            image = read_rgb(self.paths[position])
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            return Decoded(position, None, reason(error))
        return Decoded(position, self.model_input(image))
