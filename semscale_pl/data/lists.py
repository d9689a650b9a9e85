"""Datasets given as lists of files with labels: text (OLTR), JSON (BBN, BagofTricks, iNaturalist) and CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.files import ImageFiles
from semscale_pl.data.finding import USUAL_SUFFIXES
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.labels import are_numbers, composed, sorted_names

Entries = list[tuple[str, str]]
DELIMITERS = (",", ";", "\t")


class Lists:
    """Images named by list files.

    The classes are the labels that occur in any of the lists: in the order of numbers where all are numbers (as `str`
    writes them: `001` is a word), of words otherwise. A `.txt` line is `path label`, `#` begins a comment; a `.json`
    file is `{"annotations": [{"fpath": ..., "category_id": ...}, ...]}` or the organisers' form with `images`; a `.csv`
    file has a header and the two columns named below.

    Args:
        folder: of the images, below the root or absolute.
        lists: split ("train", "val", "test") to its list file or files; or the one split "all", which is then cut in a
            training and a test part by class.
        train_fraction: share of each class for training, with "all".
        image_column: of a CSV list.
        label_column: of a CSV list.
        class_names: names in the order of the classes, which the lists may number, from 0, from 1 or with gaps; None
            takes the labels that occur.
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
        self.class_names = None if class_names is None else [composed(str(name).strip()) for name in class_names]
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
        numbers, names = self._numbering(root, {label for entries in found.values() for _, label in entries})
        entries = found["all" if pooled else split]
        labels = _encode(entries, numbers, len(names), ", ".join(self.lists["all" if pooled else split]))
        rows = torch.arange(len(entries))
        if pooled:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        files = ImageFiles(_as_spelled(root / self.folder, entries[row][0]) for row in rows.tolist())
        return ImageSet(files, labels[rows], names)

    def _entries(self, split: str, root: Path) -> Entries:
        names = self.lists[split]
        entries = [entry for name in names for entry in read_list(root / name, *self.columns)]
        if len(names) > 1:  # each for itself has been looked at
            check_named_once(entries, ", ".join(names))
        return entries

    def _numbering(self, root: Path, found: set[str]) -> tuple[dict[str, int], list[str]]:
        """Return the class of each label, and the names of all classes."""
        if self.class_names is not None:
            return numbered(found, self.class_names), self.class_names
        if self.class_names_file:
            lines = self._file_names(root)
            names = _shown(lines)
            # A list may also name a class by the whole line or by its first word, the wordnet-id.
            keys = {key: row for row, line in enumerate(lines) for key in (line, line.split(" ", 1)[0], names[row])}
            return keys if found <= set(keys) else numbered(found, names), names
        ordered = sorted_names(found)
        return {label: row for row, label in enumerate(ordered)}, ordered

    def _file_names(self, root: Path) -> list[str]:
        file = root / str(self.class_names_file)
        names = [composed(line.strip()) for line in read_text(file).rstrip().split("\n")]
        if not all(names):
            raise DataError(f"Expected a class name in each line of {file}, but line {names.index('') + 1} is empty.")
        return names


def numbered(found: Collection[str], names: Sequence[str]) -> dict[str, int]:
    """Return the class of each label, where the names of the classes are given in their order.

    Labels that are no names are numbers of the classes: from 0 on, or from 1 on, or as many as there are names.

    Example:
        >>> numbered({"3", "10"}, ["cat", "dog"]), numbered({"0", "1"}, ["cat", "dog"])
        ({'3': 0, '10': 1}, {'0': 0, '1': 1})
    """
    by_name = {name: row for row, name in enumerate(names)}
    if not are_numbers(found) or not set(found).isdisjoint(by_name):
        return by_name
    ordered = sorted(map(int, found))
    if ordered[-1] < len(names):
        return {str(row): row for row in range(len(names))}
    if len(ordered) == len(names):
        return {str(number): row for row, number in enumerate(ordered)}
    first = int(ordered[-1] == len(names) and ordered[0] > 0)
    return {str(row + first): row for row in range(len(names))}


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
        lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
        entries = [_split_line(path, number, line) for number, line in lines if line and not _is_comment(line)]
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
    labels: dict[str, tuple[str, str]] = {}
    for name, label in entries:
        place = _place(name)
        if place in labels:
            first, before = labels[place]
            twice = f"{name!r} is named twice" if first == name else f"{first!r} and {name!r} are one file, named twice"
            differing = "" if before == label else f", once as {before!r} and once as {label!r}"
            raise DataError(
                f"Expected every image once, but {twice} in {where}{differing}. Remove one of the lines; a sampler "
                "shows images of rare classes more often."
            )
        labels[place] = (name, label)


def _split_line(path: Path, number: int, line: str) -> tuple[str, str]:
    name, _, label = line.rpartition("\t") if "\t" in line else _last_word(line)
    name, label = _unquoted(name), _unquoted(label)
    if not name or not label or label.lower().endswith(USUAL_SUFFIXES):
        raise DataError(f"Expected `path label` in line {number} of {path}, but got {line!r}. Correct the list.")
    _check_label(path, f"line {number}", label)
    return name, composed(label)


def _last_word(line: str) -> tuple[str, str, str]:
    name, *rest = line.rsplit(None, 1)
    return name, " ", rest[0] if rest else ""


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text


def _is_comment(line: str) -> bool:
    """Tell a comment from an image whose name begins with the same sign."""
    return line.startswith("#") and not line.rsplit(None, 1)[0].lower().endswith(USUAL_SUFFIXES)


def _check_label(path: Path, where: str, label: str) -> None:
    """Refuse what stands for a missing label; a name may be anything."""
    if label.lower() == "nan" or (are_numbers([label]) and int(label) < 0):
        raise DataError(
            f"Expected the label in {where} of {path} to be an integer of at least 0 or a name, but got {label!r}. "
            "Leave images without a label out of the list."
        )


def _place(name: str) -> str:
    """Return one spelling of the names of a file: `./a.png`, `x/../a.png`, with backslashes, with accents apart."""
    return composed(os.path.normpath(name.replace("\\", "/")))


def _as_spelled(folder: Path, name: str) -> Path:
    """Return the path of a listed file as it is spelled on the disk, or as listed where there is none."""
    path = folder / name
    if not (name.isascii() and "\\" not in name and ".." not in name) and not path.exists():
        plain = os.path.normpath(name.replace("\\", "/"))
        spellings = (plain, composed(plain), unicodedata.normalize("NFD", plain))
        return next((folder / other for other in spellings if (folder / other).exists()), path)
    return path


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
    value = entry["category_id"]
    if isinstance(value, float) and value != int(value):
        raise DataError(
            f"Expected `category_id` in annotation {number} of {path} to be an integer or a name, but got {value!r}. "
            "Correct the list."
        )
    label = str(int(value) if isinstance(value, float) else value).strip()
    _check_label(path, f"annotation {number}", label)
    return str(name), composed(label)


def _from_csv(path: Path, text: str, image_column: str, label_column: str) -> Entries:
    lines = text.split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith("#")):  # remarks above the header
        del lines[0]
    text = "\n".join(lines)
    delimiter = _delimiter(lines[0] if lines else "", image_column, label_column)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
        missing = {image_column, label_column} - set(reader.fieldnames)
        if missing:
            remedy = "Name others: dataset.source.image_column and dataset.source.label_column"
            if any(name.lower().endswith(USUAL_SUFFIXES) for name in reader.fieldnames):  # an image, no name
                remedy = f"Add a first line, {image_column}{delimiter}{label_column}"
            raise DataError(f"Expected columns {sorted(missing)} in {path}, but got {reader.fieldnames}. {remedy}.")
        for column in (image_column, label_column):
            if reader.fieldnames.count(column) > 1:
                raise DataError(f"Expected one column {column!r} in {path}, but got several. Rename the others.")
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
    return name, composed(label)


def _encode(entries: Entries, numbers: Mapping[str, int], num_classes: int, where: str) -> torch.Tensor:
    unknown = [(path, label) for path, label in entries if label not in numbers]
    if unknown:
        raise DataError(
            f"Expected labels to be among {num_classes} classes, but got {unknown[0][1]!r} for {unknown[0][0]} in "
            f"{where} ({len(unknown)} such images). Correct the list, or name every class."
        )
    return torch.tensor([numbers[label] for _, label in entries], dtype=torch.int64)


def _shown(lines: list[str]) -> list[str]:
    """Shorten `wordnet-id name` to `name`, where no other class has it (ImageNet has two kinds of sunglasses)."""
    short = [line.split(" ", 1)[-1] for line in lines]
    times = Counter(short)
    return [name if times[name] == 1 else line for name, line in zip(short, lines, strict=True)]
