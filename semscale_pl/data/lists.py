"""Datasets given as lists of files with labels: text (OLTR), JSON (BBN, BagofTricks, iNaturalist) and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.decoding import SUFFIXES
from semscale_pl.data.files import ImageFiles
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet

Entries = list[tuple[str, str]]
DELIMITERS = (",", ";", "\t")
# No data set has more; a label above it is a slip, and that many class names would fill the memory.
MOST_CLASSES = 1_000_000


class Lists:
    """Images named by list files.

    A `.txt` line is `path label`; a `.json` file is `{"annotations": [{"fpath": ..., "category_id": ...}, ...]}` or the
    organisers' form with `images`; a `.csv` file has a header and the two columns named below.

    Args:
        folder: of the images, below the root or absolute.
        lists: split ("train", "val", "test") to its list file or files; or the one split "all", which is then cut in a
            training and a test part by class.
        train_fraction: share of each class for training, with "all".
        image_column: of a CSV list.
        label_column: of a CSV list.
        class_names: names in the order of the classes; None takes the labels found, integers as numbers.
        class_names_file: text file with a class per line (`wordnet-id name` or `name`), in the order of the classes.
        address: where to get the data, for the message when it is missing; None for the user's own.
    """

    def __init__(
        self,
        folder: str,
        lists: Mapping[str, str | Sequence[str] | None],
        *,
        train_fraction: float = 0.5,
        image_column: str = "filename",
        label_column: str = "label",
        class_names: Sequence[str] | None = None,
        class_names_file: str | None = None,
        address: str | None = "its owner",
    ) -> None:
        self.folder, self.address, self.train_fraction = folder, address, train_fraction
        self.lists = {
            split: [names] if isinstance(names, str) else list(names) for split, names in lists.items() if names
        }
        if set(self.lists) != {"all"} and not {"train", "test"} <= set(self.lists) <= {"train", "val", "test"}:
            raise ValueError(
                f"Expected `lists` to name train, test and perhaps val, or all, but got {sorted(self.lists)}. "
                "Give each split its list file."
            )
        self.columns = (image_column, label_column)
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.class_names_file = class_names_file

    def prepare(self, root: Path, download: bool) -> None:
        """Check that lists and folder are there; nothing is fetched."""
        needed = [root / name for names in self.lists.values() for name in names]
        needed += [root / self.class_names_file] if self.class_names_file else []
        missing = [str(path.resolve()) for path in (*needed, root / self.folder) if not path.exists()]
        if missing:
            verb, them = ("was", "it") if len(missing) == 1 else ("were", "them")
            start = "Put" if self.address is None else f"Get {them} from {self.address} and put"
            raise DatasetNotFound(
                f"{', '.join(missing)} {verb} not found. {start} {them} there (dataset.root or SEMSCALE_DATA)."
            )

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; with the one list "all", "train" and "test" are cut by `seed`."""
        pooled = "all" in self.lists
        if split not in (("train", "test") if pooled else self.lists):
            return None
        self.prepare(root, False)
        # Labels found anywhere count, so that all splits agree on the classes.
        found = {part: self._entries(part, root) for part in self.lists}
        names = self._names(root, {label for entries in found.values() for _, label in entries})
        entries = found["all" if pooled else split]
        labels = _encode(entries, names, ", ".join(self.lists["all" if pooled else split]))
        rows = torch.arange(len(entries))
        if pooled:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        files = ImageFiles(root / self.folder / entries[row][0] for row in rows.tolist())
        return ImageSet(files, labels[rows], _shown(self._file_names(root)) if self.class_names_file else names)

    def _entries(self, split: str, root: Path) -> Entries:
        names = self.lists[split]
        entries = [entry for name in names for entry in read_list(root / name, *self.columns)]
        if len(names) > 1:  # each for itself has been looked at
            check_named_once(entries, ", ".join(names))
        return entries

    def _names(self, root: Path, found: set[str]) -> list[str]:
        if self.class_names is not None:
            return self.class_names
        if self.class_names_file:
            return [str(number) for number in range(len(self._file_names(root)))]
        numbers = {label for label in found if label.isascii() and label.isdigit()}
        if numbers and numbers != found:
            where = ", ".join(name for part in self.lists.values() for name in part)
            raise DataError(
                f"Expected labels to be all numbers or all names, but got {min(numbers)!r} and "
                f"{min(found - numbers)!r} in {where}. Correct the lists."
            )
        if not numbers:
            return sorted(found)
        largest = max(map(int, found))
        if largest >= MOST_CLASSES:
            raise DataError(
                f"Expected class numbers from 0 on, one after the other, but got {largest}. Correct the list."
            )
        return [str(number) for number in range(largest + 1)]

    def _file_names(self, root: Path) -> list[str]:
        file = root / str(self.class_names_file)
        names = [line.strip() for line in read_text(file).rstrip().splitlines()]
        if not all(names):
            raise DataError(f"Expected a class name in each line of {file}, but line {names.index('') + 1} is empty.")
        return names


def read_list(path: Path, image_column: str = "filename", label_column: str = "label") -> Entries:
    """Read pairs of path and label, as text and in order, from a text, JSON or CSV list; the suffix tells the form.

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
    """Return the text of a UTF-8 file, without a byte order mark; raise DataError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"Expected {path} to be a text file, but it cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"Expected {path} to be a text file, but it cannot be read: {error}. Save it as UTF-8."
        ) from error


def check_named_once(entries: Entries, where: str) -> None:
    """Raise DataError for an image that is named twice: the counts of the classes would be wrong, and what follows."""
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


def _encode(entries: Entries, names: list[str], where: str) -> torch.Tensor:
    number = {name: position for position, name in enumerate(names)}
    unknown = [(path, label) for path, label in entries if label not in number]
    if unknown:
        raise DataError(
            f"Expected labels to be among {len(names)} classes, but got {unknown[0][1]!r} for {unknown[0][0]} in "
            f"{where} ({len(unknown)} such images). Correct the list, or name every class."
        )
    return torch.tensor([number[label] for _, label in entries], dtype=torch.int64)


def _shown(lines: list[str]) -> list[str]:
    """Shorten `wordnet-id name` to `name`, where no other class has it (ImageNet has two kinds of sunglasses)."""
    short = [line.split(" ", 1)[-1] for line in lines]
    times = Counter(short)
    return [name if times[name] == 1 else line for name, line in zip(short, lines, strict=True)]
