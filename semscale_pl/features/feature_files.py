"""Which files a path, a folder of shards or a glob means, seen before anything is read."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
TABLES = (".parquet", ".feather", ".arrow", *CSV)
WITH_KEYS = (".npz", ".pt", ".safetensors", ".h5", ".hdf5", *TABLES)
FORMATS = (".npy", *WITH_KEYS)
LABEL_FORMATS = (".npy", ".pt", ".csv", ".txt", ".tsv", ".csv.gz", ".tsv.gz")
_SIGNS = re.compile(r"[*?\[]")
# Of two shards of one size the first, the middle and the last bytes tell whether one may be a copy.
_SAMPLE = 2**16
_SHOWN = 3


def found_files(path: str | Path, key: str = "features", formats: Sequence[str] = FORMATS) -> list[Path]:
    """Return the files that a path means, in the order of the numbers in their names.

    Args:
        path: a file; a folder, of which all files of a known format are taken, but none below it; or a glob, in which
            ``**`` stands for folders. What begins with a point or an underscore is passed over.
        key: of the setting, for messages; copies are looked for unless it is that of labels.
        formats: endings that are read.

    Returns:
        At least one file; all of one format, readable, none of them empty.

    Raises:
        ValueError: there is none, or one is of another format, empty, or of features a copy of another.
    """
    text = str(path)
    if Path(text).is_dir():
        files = _in_folder(Path(text), key, formats)
    elif _SIGNS.search(text) and not Path(text).exists():
        files = [Path(file) for file in glob.glob(text, recursive=True) if not _is_passed_over(Path(file))]
        if not files:
            raise ValueError(f"Expected `{key}` to name files, but none fits {text!r}. Correct the pattern.")
    elif not Path(text).is_file():
        raise ValueError(f"Expected `{key}` to be a file, but there is none at {text!r}.")
    else:
        files = [Path(text)]
    files = sorted(files, key=lambda file: [_by_numbers(part) for part in file.parts])
    for file in files:
        _check(file, key, formats)
    _check_formats(files, key)
    if len(files) > 1 and key != "labels" and not key.endswith("_labels"):  # those of two shards may be equal
        _check_copies(files, key)
    return files


def ending(path: Path) -> str:
    """Return the ending of a file in small letters, with what stands before .gz.

    Example:
        >>> ending(Path("a.b.CSV.gz")), ending(Path("a.npy"))
        ('.csv.gz', '.npy')
    """
    endings = [suffix.lower() for suffix in path.suffixes]
    return "".join(endings[-2:] if endings[-1:] == [".gz"] else endings[-1:])


def _in_folder(folder: Path, key: str, formats: Sequence[str]) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ValueError(f"Expected to read `{key}`, but {str(folder)!r} does not allow it. Change its permissions.")
    there = [file for file in folder.iterdir() if not _is_passed_over(file)]
    files = [file for file in there if file.is_file() and ending(file) in formats]
    if files:
        return files
    inside = next((below for below in sorted(there) if below.is_dir() and _has_any(below, formats)), None)
    cure = f"Name one of its folders, such as {inside}" if inside else "Name a file, or a folder that holds some"
    raise ValueError(
        f"Expected `{key}` to hold files that end in {', '.join(formats)}, but the folder {str(folder)!r} has none. "
        f"{cure}."
    )


def _has_any(folder: Path, formats: Sequence[str]) -> bool:
    return any(ending(file) in formats for file in folder.iterdir())


def _is_passed_over(file: Path) -> bool:
    return file.name.startswith((".", "_"))


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return what sorts part-2 before part-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _check(path: Path, key: str, formats: Sequence[str]) -> None:
    if not path.is_file():
        raise ValueError(f"Expected `{key}` to name files, but {str(path)!r} is a folder. Name the files in it.")
    if ending(path) not in formats:
        raise ValueError(f"Expected `{key}` to end in {', '.join(formats)}, but got {path.name!r}. Convert it.")
    if not os.access(path, os.R_OK):
        raise ValueError(f"Expected to read `{key}`, but {path.name} does not allow it. Change its permissions.")
    if path.stat().st_size == 0:
        raise ValueError(f"Expected `{key}` to hold something, but {path.name} is empty. Save it again.")


def _check_formats(files: Sequence[Path], key: str) -> None:
    kinds = {ending(file): file.name for file in reversed(files)}
    if len(kinds) > 1:
        names = " and ".join(list(kinds.values())[:_SHOWN])
        raise ValueError(
            f"Expected shards of one format for `{key}`, but got {names}. Name those that belong together by a "
            f"pattern, such as '{key}={files[0].parent / ('*' + next(iter(kinds)))}'."
        )


def _check_copies(files: Sequence[Path], key: str) -> None:
    """Refuse shards of which one is a copy of another, or a link to it."""
    seen: dict[object, Path] = {}
    for file in files:
        place, content = file.resolve(), (file.stat().st_size, _sample(file))
        other = seen.setdefault(place, file)
        if other is file:
            other = seen.setdefault(content, file)
        if other is not file and _same(file, other):
            raise ValueError(
                f"Expected every shard of `{key}` once, but {file.name} is a copy of {other.name}. Remove one."
            )


def _sample(file: Path) -> bytes:
    size, parts = file.stat().st_size, []
    with file.open("rb") as opened:
        for place in (0, size // 2, max(0, size - _SAMPLE)):
            opened.seek(place)
            parts.append(opened.read(_SAMPLE))
    return hashlib.blake2b(b"".join(parts)).digest()


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(2**20):
            if block != second.read(2**20):
                return False
    return True
