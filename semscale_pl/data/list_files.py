"""Reading list files: text (OLTR), JSON (BBN, BagofTricks, iNaturalist) and CSV; a wrong line is named."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from semscale_pl.data.files import SUFFIXES
from semscale_pl.data.source import DataError

Entries = list[tuple[str, str]]


def read_list(path: Path, image_column: str = "filename", label_column: str = "label") -> Entries:
    """Read pairs of path and label from a text, JSON or CSV list.

    Args:
        path: of the list; its suffix tells the form.
        image_column: of a CSV list.
        label_column: of a CSV list.

    Returns:
        (path, label) pairs in the list's order, labels as text.

    Raises:
        DataError: for a form or a line that is not understood, or an empty list.
    """
    if path.suffix not in (".txt", ".json", ".csv"):
        raise DataError(f"Expected a list to end in .txt, .json or .csv, but got {path}. Convert it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected {path} to be a text file, but it cannot be read: {error}. Replace it.") from error
    if path.suffix == ".txt":
        entries = [_split_line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    elif path.suffix == ".json":
        entries = _from_json(path, text)
    else:
        entries = _from_csv(path, text, image_column, label_column)
    if not entries:
        raise DataError(f"Expected images in {path}, but the list is empty. Fetch it again, or leave the split out.")
    return entries


def _split_line(path: Path, number: int, line: str) -> tuple[str, str]:
    name, _, label = line.strip().rpartition(" ")
    if not name or label.lower().endswith(SUFFIXES):
        raise DataError(f"Expected `path label` in line {number} of {path}, but got {line!r}. Correct the list.")
    _check_label(path, f"line {number}", label)
    return name.rstrip(), label


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
    # The organisers' form keeps paths apart from labels, joined by the image's id.
    files = {image["id"]: image["file_name"] for image in content.get("images", ())}
    return [_annotation(path, number, entry, files) for number, entry in enumerate(annotations)]


def _annotation(path: Path, number: int, entry: Any, files: dict[Any, str]) -> tuple[str, str]:
    name = entry.get("fpath", files.get(entry.get("image_id"))) if isinstance(entry, dict) else None
    if name is None or "category_id" not in entry:
        raise DataError(
            f"Expected `fpath` (or the `image_id` of an image) and `category_id` in annotation {number} of {path}, "
            f"but got {entry!r}. Correct the list."
        )
    label = str(entry["category_id"])
    _check_label(path, f"annotation {number}", label)
    return str(name), label


def _from_csv(path: Path, text: str, image_column: str, label_column: str) -> Entries:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = {image_column, label_column} - set(reader.fieldnames or [])
    if missing:
        raise DataError(
            f"Expected columns {sorted(missing)} in {path}, but got {reader.fieldnames}. Name others: "
            "dataset.source.image_column and dataset.source.label_column."
        )
    return [_csv_row(path, reader.line_num, row[image_column], row[label_column]) for row in reader]


def _csv_row(path: Path, number: int, name: str | None, label: str | None) -> tuple[str, str]:
    # A single label is also written as a Python list, for example "['N']" in ODIR-5K.
    label = (label or "").strip("[]'\" ")
    if not name or not label:
        raise DataError(f"Expected a file and a label in line {number} of {path}, but got {(name, label)!r}. Add them.")
    _check_label(path, f"line {number}", label)
    return name, label
