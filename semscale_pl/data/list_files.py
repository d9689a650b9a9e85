"""Reading list files: text (OLTR), JSON (BBN, BagofTricks, iNaturalist) and CSV; a wrong line is named."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from semscale_pl.data.files import SUFFIXES
from semscale_pl.data.source import DataError

Entries = list[tuple[str, str]]
DELIMITERS = (",", ";", "\t")


def read_list(path: Path, image_column: str = "filename", label_column: str = "label") -> Entries:
    """Read pairs of path and label from a text, JSON or CSV list.

    Args:
        path: of the list; its suffix tells the form.
        image_column: of a CSV list.
        label_column: of a CSV list.

    Returns:
        (path, label) pairs in the list's order, labels as text.

    Raises:
        DataError: for a form or a line that is not understood, an image named twice, or an empty list.
    """
    form = path.suffix.lower()
    if form not in (".txt", ".json", ".csv"):
        raise DataError(f"Expected a list to end in .txt, .json or .csv, but got {path}. Convert it.")
    text = read_text(path)
    if form == ".txt":
        entries = [_split_line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    elif form == ".json":
        entries = _from_json(path, text)
    else:
        entries = _from_csv(path, text, image_column, label_column)
    if not entries:
        raise DataError(f"Expected images in {path}, but the list is empty. Fetch it again, or leave the split out.")
    check_named_once(entries, str(path))
    return entries


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Args:
        path: of the file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"Expected {path} to be a text file, but it cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"Expected {path} to be a text file, but it cannot be read: {error}. Save it as UTF-8."
        ) from error


def check_named_once(entries: Entries, where: str) -> None:
    """Refuse an image that is named twice: the counts of the classes, and all that follows from them, would be wrong.

    Args:
        entries: (path, label) pairs.
        where: the list or lists, for the message.

    Raises:
        DataError: naming the first such image and its labels.
    """
    labels: dict[str, str] = {}
    for name, label in entries:
        if name in labels:
            differing = "" if labels[name] == label else f", once as {labels[name]!r} and once as {label!r}"
            raise DataError(
                f"Expected every image once, but {name!r} is named twice in {where}{differing}. Remove one of the "
                "lines; a sampler shows images of rare classes more often."
            )
        labels[name] = label


def _split_line(path: Path, number: int, line: str) -> tuple[str, str]:
    name, *rest = line.strip().rsplit(None, 1)
    if not rest or rest[0].lower().endswith(SUFFIXES):
        raise DataError(f"Expected `path label` in line {number} of {path}, but got {line!r}. Correct the list.")
    _check_label(path, f"line {number}", rest[0])
    return name, rest[0]


def _check_label(path: Path, where: str, label: str) -> None:
    """Refuse numbers that are no class numbers; a name may be anything."""
    if label.isascii() and label.isdigit():
        return
    try:
        float(label)
    except ValueError:
        return
    raise DataError(
        f"Expected the label in {where} of {path} to be an integer of at least 0 or a name, but got {label!r}. "
        "Correct the list."
    )


def _from_json(path: Path, text: str) -> Entries:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"Expected {path} to be JSON, but {error}. Fetch it again.") from error
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise DataError(
            f"Expected a list `annotations` in {path}, but got none. Official test lists have no labels: use another."
        )
    files = _files_by_id(content.get("images"))
    return [_annotation(path, number, entry, files) for number, entry in enumerate(annotations)]


def _files_by_id(images: Any) -> dict[Hashable, Any]:
    """Return path by id: the organisers' form keeps paths apart from labels; an image without either is not found."""
    entries = [image for image in images if isinstance(image, dict)] if isinstance(images, list) else []
    return {image.get("id"): image.get("file_name") for image in entries if isinstance(image.get("id"), Hashable)}


def _annotation(path: Path, number: int, entry: Any, files: dict[Hashable, Any]) -> tuple[str, str]:
    name = entry.get("fpath") if isinstance(entry, dict) else None
    if name is None and isinstance(entry, dict) and isinstance(entry.get("image_id"), Hashable):
        name = files.get(entry.get("image_id"))
    if name is None or not isinstance(entry.get("category_id"), int | float | str):
        raise DataError(
            f"Expected `fpath` (or the `image_id` of an image) and `category_id` in annotation {number} of {path}, "
            f"but got {entry!r}. Correct the list."
        )
    label = str(entry["category_id"])
    _check_label(path, f"annotation {number}", label)
    return str(name), label


def _from_csv(path: Path, text: str, image_column: str, label_column: str) -> Entries:
    lines = text.splitlines()
    delimiter = _delimiter(lines[0] if lines else "", image_column, label_column)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
        missing = {image_column, label_column} - set(reader.fieldnames)
        if missing:
            raise DataError(
                f"Expected columns {sorted(missing)} in {path}, but got {reader.fieldnames}. Name others: "
                "dataset.source.image_column and dataset.source.label_column."
            )
        return [_csv_row(path, reader.line_num, row[image_column], row[label_column]) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"Expected {path} to be a CSV file, but after line {reader.line_num}: {error}. Correct the list."
        ) from error


def _delimiter(header: str, *columns: str) -> str:
    """Return what parts the columns: a comma, or what a spreadsheet of many countries writes instead."""
    for delimiter in DELIMITERS:
        names = {name.strip().strip('"') for name in header.split(delimiter)}
        if names >= set(columns):
            return delimiter
    return DELIMITERS[0]


def _csv_row(path: Path, number: int, name: str | None, label: str | None) -> tuple[str, str]:
    # A single label is also written as a Python list, for example "['N']" in ODIR-5K.
    name, label = (name or "").strip(), (label or "").strip("[]'\" ")
    if not name or not label:
        raise DataError(f"Expected a file and a label in line {number} of {path}, but got {(name, label)!r}. Add them.")
    _check_label(path, f"line {number}", label)
    return name, label
