"""What sources of images in larger files share: files of a split by pattern, labels of any kind, names of classes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semscale_pl.data.files import ImageFiles
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.packed import PackedFile
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.labels import class_names_in, class_positions, composed, label_array, sorted_names
from semscale_pl.options import check
from semscale_pl.terminal import printable

Patterns = str | Sequence[str] | None
# Beside the files of the training split, where the names of the classes may stand.
NAME_FILES = ("classes.txt", "classes.json")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
SPLIT_IT = "dataset.source.train_fraction=0.8 splits each class of the training images in a training and a test part."


@dataclass(frozen=True)
class Part:
    """One split as its files hold it.

    Attributes:
        paths: of N images.
        labels: (N,) words or whole numbers, of anything that :func:`semscale_pl.labels.label_array` takes.
        what: the labels in messages, such as "label of train.parquet".
        class_names: what the files' own description calls the classes, whose positions the labels then are.
        passed_over: see :class:`~semscale_pl.data.source.ImageSet`.
    """

    paths: list[PackedFile]
    labels: Any
    what: str
    class_names: Sequence[str] | None = None
    passed_over: Mapping[str, Sequence[Path]] = field(default_factory=dict)


class PackedSource(ABC):
    """Images in larger files, split by these or by us; a source adds what names images and labels in its files.

    Labels are positions of `class_names` or of the names that the files have themselves, or these names; where there
    are none, the classes are the labels that occur in any split, sorted.

    Args:
        train: what holds the training images, see :func:`found_files` unless the source says otherwise.
        test: likewise; None for no such split.
        val: likewise, used where it exists.
        train_fraction: share of each class of the training images that is trained on, where the rest is to be the test
            split; None takes the splits as they are.
        class_names: in their order; None takes those of the files, or of a file `classes.txt` (a name a line) or
            `classes.json` (a list) beside them.
    """

    # Which split may be there, and need not be.
    optional = ("val",)
    address: str | None = None

    def __init__(
        self,
        train: Patterns,
        test: Patterns = None,
        val: Patterns = None,
        *,
        train_fraction: float | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        check(type(self).__name__, train_fraction=train_fraction)
        self.splits = {"train": train} if train_fraction is not None else {"train": train, "val": val, "test": test}
        self.train_fraction = train_fraction
        self.class_names = None if class_names is None else [composed(str(name).strip()) for name in class_names]
        self._opened: dict[tuple[str, Path], Part | None] = {}
        self._classes: dict[Path, dict[str, tuple[np.ndarray, list[str]]]] = {}

    @abstractmethod
    def open(self, split: str, root: Path) -> Part:
        """Read what a split has, but no image.

        Raises:
            DatasetNotFound: it is not there.
            DataError: it is damaged, or not what was expected.
        """

    def prepare(self, root: Path, download: bool) -> None:
        """Look whether the files are there and can be read; nothing is fetched."""
        for split in self.splits:
            self._part(split, root)

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; of the training images alone "train" and "test" are cut by `seed`."""
        alone = self.train_fraction is not None
        part = self._part("train" if alone and split == "test" else split, root)
        if part is None:
            return None
        if root not in self._classes:
            self._classes[root] = self._numbered(root)
        numbers, names = self._classes[root]["train" if alone else split]
        labels = torch.from_numpy(numbers)
        if self.train_fraction is None:
            return ImageSet(ImageFiles(part.paths), labels, names, part.passed_over)
        rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        images = ImageFiles(part.paths[row] for row in rows.tolist())
        return ImageSet(images, labels[rows], names, part.passed_over)

    def _part(self, split: str, root: Path) -> Part | None:
        if self.splits.get(split) is None:
            return None
        if (split, root) not in self._opened:
            try:
                part: Part | None = self.open(split, root)
            except DatasetNotFound:
                if split not in self.optional:
                    raise
                part = None
            if part is not None and not part.paths:
                raise DataError(f"Expected images for `{part.what}`, but got none. Fill it, or leave the split out.")
            self._opened[split, root] = part
        return self._opened[split, root]

    def _numbered(self, root: Path) -> dict[str, tuple[np.ndarray, list[str]]]:
        """Return class numbers and names of the classes of every split, which agree on them."""
        parts = {split: part for split in self.splits if (part := self._part(split, root)) is not None}
        labels = {split: _labels(part) for split, part in parts.items()}
        names = self._names(parts)
        if names is None:
            found = {str(label) for each in labels.values() for label in np.unique(each).tolist()}
            names = sorted_names(found)
            labels = {split: each.astype(np.str_) for split, each in labels.items()}
        return {split: (_positions(parts[split], each, names), names) for split, each in labels.items()}

    def _names(self, parts: Mapping[str, Part]) -> list[str] | None:
        if self.class_names is not None:
            return self.class_names
        described = {split: part for split, part in parts.items() if part.class_names is not None}
        for part in described.values():
            _check_same_order(next(iter(described.values())), part)
        if described:
            return _spelled(next(iter(described.values())).class_names or ())
        beside = {Path(file).parent / name: None for file in parts["train"].paths[0].pack.files for name in NAME_FILES}
        file = next((file for file in beside if file.is_file()), None)
        return None if file is None else _names_in(file)


def found_files(patterns: Patterns, root: Path, suffix: str, split: str) -> list[Path]:
    """Return the files of a split, sorted, that patterns name.

    Args:
        patterns: one or several of: a file; a folder, of which all files of that suffix are taken; a glob, also with
            `**`; each with braces such as `{000..146}` or `{a,b}`. Of what braces give, files that are named in full
            must all be there, of globs one must fit.
        root: that they are below, unless they are absolute.
        suffix: such as ".tar".
        split: for messages.

    Raises:
        DatasetNotFound: files are not there.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns or ())
    found: dict[Path, None] = {}
    missing = []
    for pattern in (each for text in wanted for each in expanded(str(text))):
        path = root / pattern
        if any(sign in pattern for sign in "*?["):
            base = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else root
            below = str(Path(pattern).relative_to(base)) if Path(pattern).is_absolute() else pattern
            found |= dict.fromkeys(file for file in base.glob(below) if file.is_file())
        elif path.is_dir():
            found |= dict.fromkeys(path.glob(f"*{suffix}"))
        elif path.is_file():
            found[path] = None
        else:
            missing.append(path)
    if missing or not found:
        what = (
            f"{len(missing):,} such files were not found, the first is {missing[0].resolve()}"
            if missing
            else f"there are none in {root.resolve()}"
        )
        more = f"; without any, {SPLIT_IT}" if split == "test" else "."
        raise DatasetNotFound(
            f"Expected the {split} images in {', '.join(map(printable, wanted))}, but {what}. Set dataset.root to "
            f"their folder, or dataset.source.{split} to their names{more}"
        )
    return sorted(found)


def check_columns(there: Sequence[str], image_column: str, label_column: str, place: Path) -> None:
    """Raise DataError where a table lacks the column of images or that of labels."""
    lacking = [name for name in (image_column, label_column) if name not in there]
    if lacking:
        raise DataError(
            f"Expected a column `{lacking[0]}` in {printable(str(place))}, but got {', '.join(map(printable, there))}. "
            "Name others: dataset.source.image_column and dataset.source.label_column."
        )


def expanded(pattern: str) -> list[str]:
    """Return what a pattern with braces stands for.

    Example:
        >>> expanded("train-{08..10}.tar"), expanded("{a,b}.tar"), expanded("*.tar")
        (['train-08.tar', 'train-09.tar', 'train-10.tar'], ['a.tar', 'b.tar'], ['*.tar'])
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    span = _RANGE.fullmatch(braces[1])
    choices = braces[1].split(",")
    if span is not None:
        choices = [f"{number:0{len(span[1])}}" for number in range(int(span[1]), int(span[2]) + 1)]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [text for choice in choices for text in expanded(f"{before}{choice}{after}")]


def _labels(part: Part) -> np.ndarray:
    try:
        labels = label_array(part.labels, part.what)
    except ValueError as error:
        raise DataError(str(error)) from error
    return np.char.strip(labels) if labels.dtype.kind == "U" else labels


def _positions(part: Part, labels: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the class of each image, whose labels are names or, as numbers, positions of names."""
    numbers = class_positions(labels, names)
    wrong = np.flatnonzero(numbers < 0)
    if len(wrong):
        raise DataError(
            f"Expected `{part.what}` to be among {len(names):,} classes, by name or as 0..{len(names) - 1}, but got "
            f"{labels[wrong[0]].item()!r} for {printable(part.paths[wrong[0]])} ({len(wrong):,} such images). Correct "
            "it, or name every class in dataset.source.class_names."
        )
    return numbers


def _check_same_order(first: Part, other: Part) -> None:
    one, two = _spelled(first.class_names or ()), _spelled(other.class_names or ())
    if one != two:
        row = next((row for row, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), None)
        what = f"{len(one)} and {len(two)}" if row is None else f"{one[row]!r} and {two[row]!r} for class {row}"
        raise DataError(
            f"Expected `{first.what}` and `{other.what}` to name the same classes in the same order, but got {what}. "
            "Write both with one description of the classes."
        )


def _names_in(file: Path) -> list[str]:
    try:
        return class_names_in(file)
    except ValueError as error:
        raise DataError(str(error)) from error


def _spelled(names: Sequence[str]) -> list[str]:
    return [composed(str(name).strip()) for name in names]
