"""Datasets given as lists of files with labels: text (OLTR), JSON (BBN, BagofTricks) and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from semscale_pl.data.files import ImageFiles
from semscale_pl.data.list_files import Entries, check_named_once, read_list, read_text
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet

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
        if (pooled and split not in ("train", "test")) or (not pooled and split not in self.lists):
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
        if numbers:
            return _numbered(max(map(int, found)) + 1)
        return sorted(found)

    def _file_names(self, root: Path) -> list[str]:
        file = root / str(self.class_names_file)
        names = [line.strip() for line in read_text(file).rstrip().splitlines()]
        if not all(names):
            raise DataError(f"Expected a class name in each line of {file}, but line {names.index('') + 1} is empty.")
        return names


def _numbered(num_classes: int) -> list[str]:
    if num_classes > MOST_CLASSES:
        raise DataError(
            f"Expected class numbers from 0 on, one after the other, but got {num_classes - 1}. Correct the list."
        )
    return [str(number) for number in range(num_classes)]


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
