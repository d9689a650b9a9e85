"""Which files below a folder are images: what Pillow reads here, links followed, and what was passed over; no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from semscale_pl.data.errors import DataError
from semscale_pl.terminal import printable

# What most images end in; :func:`image_suffixes` has all.
USUAL_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
# Pillow opens these, but they are documents, films, tables of numbers, or nothing that it can decode everywhere.
_NO_PICTURES = ("BUFR", "EPS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF")
# Files and folders that systems leave behind.
_OF_THE_SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir")
# Classes, and suffixes of one class, that a line names at most.
_CLASSES_SHOWN, _SUFFIXES_SHOWN = 5, 3


class Found(NamedTuple):
    """The files below a folder, each list sorted; hidden ones and those of the system are in neither."""

    images: list[Path]
    passed_over: list[Path]


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes, in lower case, of the image formats that Pillow opens on this machine."""
    from PIL import Image

    Image.init()
    formats = set(Image.OPEN) - set(_NO_PICTURES)
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in formats))


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files below a folder, see :func:`look_through`."""
    return look_through(folder).images


def look_through(folder: str | os.PathLike[str]) -> Found:
    """List the files below a folder. Links are followed, except those to a folder that they lie in.

    Raises:
        DataError: a folder cannot be read.
    """
    found, suffixes = Found([], []), image_suffixes()
    for path in _files(Path(folder), frozenset()):
        (found.images if path.name.lower().endswith(suffixes) else found.passed_over).append(path)
    return Found(sorted(found.images), sorted(found.passed_over))


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, sorted by name, without what is not for the user's eyes.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"Expected to read the folder {printable(str(folder))}, but got: {error.strerror}. Allow it, or take the "
            "folder out."
        ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link to nothing or to a folder above it is none."""
    try:
        if not entry.is_dir():
            return False
    except OSError:  # a link to itself
        return False
    return not entry.is_symlink() or not Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is not for the user's eyes, as `.ipynb_checkpoints` and `Thumbs.db`."""
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def shown(path: Path, folder: str | os.PathLike[str]) -> str:
    """Return a path relative to its folder, with forward slashes; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def describe(passed_over: Mapping[str, Sequence[Path]]) -> str:
    """Say in one line which files of which classes were not used; nothing where there are none.

    Example:
        >>> describe({"fox": [Path("0.heic"), Path("1.heic")], "cat": []})
        'passed over 2 files that cannot be used: fox 2 (.heic)'
    """
    parts = {name: files for name, files in passed_over.items() if files}
    total = sum(len(files) for files in parts.values())
    if not total:
        return ""
    classes = [f"{printable(name)} {len(files):,} ({_suffixes(files)})" for name, files in parts.items()]
    more = f" and {len(classes) - _CLASSES_SHOWN:,} more folders" if len(classes) > _CLASSES_SHOWN else ""
    files_word = "file" if total == 1 else "files"
    return f"passed over {total:,} {files_word} that cannot be used: {', '.join(classes[:_CLASSES_SHOWN])}{more}"


def _suffixes(files: Sequence[Path]) -> str:
    times = Counter(printable(file.suffix.lower()) or "no suffix" for file in files)
    return ", ".join([*list(times)[:_SUFFIXES_SHOWN], *(["..."] if len(times) > _SUFFIXES_SHOWN else [])])


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield the files below a folder; none of `above`, which a link led from, is entered again."""
    for entry in entries_of(folder):
        path = folder / entry.name
        if not is_folder(entry):
            yield path
        elif not entry.is_symlink():
            yield from _files(path, above)
        elif path.resolve() not in above:
            yield from _files(path, above | {folder.resolve(), path.resolve()})
