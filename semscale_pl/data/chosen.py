"""The images that a call names: one file, a folder, a list of either, or a text file with a path a line; no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from semscale_pl.data.finding import USUAL_SUFFIXES, describe, look_through, shown

LIST_SUFFIX = ".txt"


class Chosen(NamedTuple):
    """Image files, their names in the output, and the files of folders that are no images, by sub-folder."""

    paths: list[Path]
    names: list[str]
    passed_over: dict[str, list[Path]]


def chosen_images(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Chosen:
    """Find the images that are meant.

    Args:
        images: a file, taken whatever its name ends in; a folder, searched with its sub-folders; a ``.txt`` file with
            one of these a line, relative to the working folder; or a list of them. The order is that of the list, and
            within a folder by sub-folder and name.

    Returns:
        Paths and names; a name is the path within the folder where there is one folder, otherwise the path as given.

    Raises:
        ValueError: there is nothing by a name, or no image in what is named.
        DataError: a folder cannot be read.
    """
    entries = [images] if isinstance(images, str | os.PathLike) else list(images)
    listed = [line for entry in entries for line in _lines(Path(entry))]
    chosen = Chosen([], [], {})
    for path in listed:
        if path.is_dir():
            _add_folder(chosen, path, alone=len(listed) == 1)
        elif path.is_file():
            chosen.paths.append(path)
            chosen.names.append(_name(path))
        else:
            raise ValueError(f"Expected `images` to name files or folders, but there is none at {str(path)!r}.")
    if not chosen.paths:
        said = describe(chosen.passed_over)
        where = ", ".join(repr(str(path)) for path in entries) or "an empty list"
        raise ValueError(
            f"Expected `images` to hold image files ({', '.join(USUAL_SUFFIXES)}, ...), but found none in {where}"
            f"{said and f'; {said}'}."
        )
    return chosen


def _lines(path: Path) -> list[Path]:
    if path.suffix.lower() != LIST_SUFFIX or not path.is_file():
        return [path]
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ValueError(f"Expected to read the list {str(path)!r}, but got: {error.strerror}.") from error
    return [Path(line.strip()) for line in text.splitlines() if line.strip()]


def _add_folder(chosen: Chosen, folder: Path, alone: bool) -> None:
    found = look_through(folder)
    for path in sorted(found.images, key=lambda path: (path.parent, path.name)):
        chosen.paths.append(path)
        chosen.names.append(shown(path, folder) if alone else _name(path))
    for file in found.passed_over:
        first, *rest = file.relative_to(folder).parts
        chosen.passed_over.setdefault(first if rest else folder.name or str(folder), []).append(file)


def _name(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
