"""The image files of a folder, decoded one by one; a file that cannot be read says why instead of ending the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# A call is checked before torch is imported, so the list of `semscale_pl.data.files` is out of reach here.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files below a folder, in the order of folders and names, without hidden ones.

    Args:
        folder: searched with its sub-folders.
    """
    return [
        Path(parent, name)
        for parent, folders, names in sorted(_walk(folder))
        for name in sorted(names)
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]


def shown(path: Path, folder: str | os.PathLike[str]) -> str:
    """Return a path relative to its folder, with forward slashes; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _walk(folder: str | os.PathLike[str]) -> list[tuple[str, list[str], list[str]]]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.append((parent, folders, names))
    return found


class Decoded(NamedTuple):
    """One file.

    Args:
        position: in the list of files.
        image: the model's input; None where the file cannot be read.
        problem: why it cannot be read, in one line; empty where it can.
    """

    position: int
    image: Any
    problem: str = ""


class DecodedImages:
    """The files of a list as model inputs, for a torch DataLoader with or without workers.

    Args:
        paths: of the files.
        model_input: turns a decoded RGB image into the model's input.
    """

    def __init__(self, paths: Sequence[Path], model_input: Callable[[Any], Any]) -> None:
        self.paths, self.model_input = [os.fspath(path) for path in paths], model_input

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Decoded:
        from semscale_pl.data.decoding import reason
        from semscale_pl.data.files import read_rgb

        try:
            image = read_rgb(self.paths[position])
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            return Decoded(position, None, reason(error))
        return Decoded(position, self.model_input(image))
