"""Several files of features as one, and some rows of one: shards put together, and the part that a column names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.source import Found, Rows
from semscale_pl.labels import label_array

# What a column may call the parts of a dataset, in small letters.
PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SHOWN = 6


class JoinedRows:
    """The rows of shards, one after the other.

    Args:
        parts: of the shards, of one width.

    Attributes:
        by_rows: whether all of them are mapped, so that rows can be taken in any order.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), parts[0].shape[1])
        self.dtype = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
        self.by_rows = all(is_mapped(part) for part in parts)
        self.itemsize = max(getattr(part, "itemsize", part.dtype.itemsize) for part in parts)

    def __len__(self) -> int:
        return int(self.shape[0])

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows, see :meth:`semscale_pl.features.source.Rows.rows`."""
        for part, start, end in zip(self._parts, self._starts[:-1], self._starts[1:], strict=True):
            first, last = np.searchsorted(wanted, [start, end])
            if last > first:
                for piece in part.rows(wanted[first:last] - start, size):
                    yield piece.astype(self.dtype, copy=False)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return rows in any order as a new array (K, d), where all shards are mapped."""
        shard_of = np.searchsorted(self._starts, numbers, side="right") - 1
        found: np.ndarray | None = None
        for shard in np.unique(shard_of).tolist():
            places = np.flatnonzero(shard_of == shard)
            rows = self._parts[shard].take(numbers[places] - self._starts[shard])  # type: ignore[attr-defined]
            if found is None:
                found = np.empty((len(numbers), self.shape[1]), rows.dtype)
            if rows.dtype.itemsize > found.itemsize:
                found = found.astype(rows.dtype)
            found[places] = rows
        return np.empty((0, self.shape[1]), self.dtype) if found is None else found


class ChosenRows:
    """Some rows of others, in their order.

    Args:
        rows: all.
        places: (K,) ascending.

    Attributes:
        by_rows: whether they are mapped, so that rows can be taken in any order.
    """

    def __init__(self, rows: Rows, places: np.ndarray) -> None:
        self._rows, self.places = rows, places
        self.shape: tuple[int, ...] = (len(places), rows.shape[1])
        self.dtype, self.by_rows = rows.dtype, is_mapped(rows)
        self.itemsize = getattr(rows, "itemsize", rows.dtype.itemsize)

    def __len__(self) -> int:
        return int(self.shape[0])

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows, see :meth:`semscale_pl.features.source.Rows.rows`."""
        return self._rows.rows(self.places[wanted], size)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return rows in any order as a new array (K, d), where they are mapped."""
        return self._rows.take(self.places[numbers])  # type: ignore[attr-defined, no-any-return]


class NoSuchPartError(ValueError):
    """A column of parts names no row of the part that was asked for."""


def is_mapped(rows: Any) -> bool:
    """Tell whether rows stay in their file and can be taken in any order: they lie there one after the other."""
    return bool(getattr(rows, "by_rows", False))


def joined(found: Sequence[Found], files: Sequence[Path]) -> Found:
    """Put shards together.

    Raises:
        ValueError: they differ in width, in where features and labels are, in the kind of labels, or in what they call
            the classes.
    """
    if len(found) == 1:
        return found[0]
    first, name = found[0], files[0].name
    for other, file in zip(found[1:], files[1:], strict=True):
        if other.rows.shape[1] != first.rows.shape[1]:
            raise ValueError(
                f"Expected {first.rows.shape[1]:,} features in {file.name}, as in {name}, but got "
                f"{other.rows.shape[1]:,}. Embed all shards with the same model."
            )
        _check_alike(first, other, name, file.name)
    words = f"{len(files):,} shards, {name} to {files[-1].name}"
    labels = None
    if first.labels is not None:
        parts = [label_array(each.labels, f"labels of {file.name}") for each, file in zip(found, files, strict=True)]  # type: ignore[arg-type]
        _check_kinds(parts, files)
        labels = np.concatenate(parts)
    splits = None if first.splits is None else np.concatenate([each.splits for each in found])  # type: ignore[misc]
    rows = JoinedRows([each.rows for each in found])
    return Found(rows, labels, replace(first.taken, files=words), first.class_names, splits)


def chosen_part(found: Found, part: str, split_key: str, file: str) -> Found:
    """Return the rows of a part, by the file's own column of parts.

    Args:
        found: with ``splits``.
        part: "train", "val" or "test", which a column may spell otherwise (:data:`PART_NAMES`), or any of its values.
        split_key: the column.
        file: its name, for messages.

    Raises:
        ValueError: the column has not one value for each row.
        NoSuchPartError: no row is of that part.
    """
    assert found.splits is not None
    if found.splits.shape != (found.rows.shape[0],):
        raise ValueError(
            f"Expected a part for each of the {found.rows.shape[0]:,} rows in `{split_key}` of {file}, but got shape "
            f"{found.splits.shape}. Save one value a row."
        )
    spelled = np.char.lower(np.char.strip(found.splits))
    places = np.flatnonzero(np.isin(spelled, PART_NAMES.get(part, (part.lower(),))))
    if not len(places):
        raise NoSuchPartError(
            f"Expected rows of {part!r} in `{split_key}` of {file}, but got {parts_shown(found.splits)}. Name the "
            "column of the parts with split_key=NAME."
        )
    labels = None if found.labels is None else label_array(found.labels, f"labels of {file}")
    if labels is not None and len(labels) == len(found.splits):
        labels = labels[places]
    taken = replace(found.taken, part=f"{len(places):,} rows of {part} by {split_key}")
    return replace(found, rows=ChosenRows(found.rows, places), labels=labels, taken=taken, splits=found.splits[places])


def parts_shown(splits: np.ndarray) -> str:
    """Return the values of a column of parts in a few words."""
    values, counts = np.unique(splits, return_counts=True)
    shown = ", ".join(f"{value} ({count:,} rows)" for value, count in zip(values[:_SHOWN], counts, strict=False))
    return shown + (f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else "")


def _check_alike(first: Found, other: Found, name: str, file: str) -> None:
    one, two = first.taken, other.taken
    if (first.labels is None) != (other.labels is None):
        lacking, has = (name, file) if first.labels is None else (file, name)
        raise ValueError(f"Expected labels in {lacking}, as in {has}, but it has none. Save all shards alike.")
    for what, mine, its in (
        ("features", one.feature_columns or one.columns, two.feature_columns or two.columns),
        ("labels", one.label_column, two.label_column),
    ):
        if mine != its:
            raise ValueError(
                f"Expected the {what} of {file} under the same names as in {name}, {mine}, but got {its}. Save all "
                "shards alike."
            )
    if first.class_names != other.class_names:
        raise ValueError(
            f"Expected {file} to name the classes as {name} does, {names_shown(first.class_names)}, but got "
            f"{names_shown(other.class_names)}. Write all shards with one list of names."
        )


def names_shown(names: Sequence[str] | None) -> str:
    """Return names of classes in a few words."""
    if names is None:
        return "none"
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names):,})" if len(names) > _SHOWN else "")


def _check_kinds(parts: Sequence[np.ndarray], files: Sequence[Path]) -> None:
    kinds = {part.dtype.kind == "U": file.name for part, file in zip(parts, files, strict=True)}
    if len(kinds) > 1:
        raise ValueError(
            f"Expected labels of one kind in all shards, but {kinds[True]} has words and {kinds[False]} has numbers. "
            "Save all shards alike."
        )
