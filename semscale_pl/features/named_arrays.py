"""Features in a file of named arrays: one matrix, or one array a feature, beside labels and names of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from semscale_pl.features.columns import (
    Watch,
    named_columns,
    named_unlike_features,
    refuse,
    spelled,
    taken,
    values_shown,
)
from semscale_pl.features.source import (
    Asked,
    Found,
    Rows,
    Taken,
    check_matrix,
    choose_array,
    choose_key,
    row_dtype,
    split_of,
)
from semscale_pl.labels import Labels

# Under these names an array of words, in no relation to the samples, is what the classes are called.
CLASS_NAME_KEYS = ("class_names", "label_names", "target_names")


class NamedArrays(Protocol):
    """A file of arrays.

    Attributes:
        name: of the file, for messages.
        shapes: of the arrays, by name; () of what is none.
        class_names: what the file calls its classes elsewhere than in an array; None where it does not.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    class_names: tuple[str, ...] | None

    def matrix(self, key: str) -> Rows:
        """Open an array of features."""
        ...

    def column(self, key: str) -> np.ndarray:
        """Return an array of one number a sample, mapped or read."""
        ...

    def labels(self, key: str) -> Labels:
        """Read labels, or other words, as they are stored."""
        ...


class ColumnRows:
    """Features of which each is an array of its own.

    Args:
        columns: (N,) numbers of every feature.
        name: of the file, for messages.

    Raises:
        ValueError: there are no samples, or an array holds no numbers.
    """

    def __init__(self, columns: Sequence[np.ndarray], name: str) -> None:
        for column in columns:
            check_matrix((len(column), len(columns)), column.dtype, name)
        types = {row_dtype(column.dtype) for column in columns}
        self.shape: tuple[int, ...] = (len(columns[0]), len(columns))
        self.dtype, self._columns = max(types, key=lambda kind: kind.itemsize), list(columns)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        for start in range(0, len(wanted), size):
            numbers = wanted[start : start + size]
            yield np.stack([column[numbers] for column in self._columns], axis=1).astype(self.dtype, copy=False)


def array_parts(arrays: NamedArrays, asked: Asked) -> Found:
    """Find features, labels, parts and names of classes among arrays.

    Several arrays of one dimension, and no other, are the columns of a table: a feature each.

    Raises:
        ValueError: there are no features or several arrays of them, or one that was asked for is missing.
    """
    shapes, name = arrays.shapes, arrays.name
    split = split_of(shapes, name, asked.split)
    wanted = None if asked.labels_elsewhere and asked.label not in shapes else asked.label
    label = choose_key([key for key in shapes if key != split], name, labels=True, wanted=wanted)
    named = [key for key in CLASS_NAME_KEYS if key in shapes and key not in (label, asked.key)][:1]
    others = {key: shape for key, shape in shapes.items() if key not in (split, *named)}
    labels = arrays.labels(label) if label else None
    splits = np.asarray(arrays.labels(split)).astype(np.str_) if split else None
    names = tuple(str(word) for word in arrays.labels(named[0])) if named else arrays.class_names
    columns = _columns(others, label, asked, name)
    if columns:
        rows, words = _of_columns(arrays, columns, others, label, asked)
        return Found(rows, labels, words, names, splits)
    if asked.features:
        raise ValueError(
            f"Expected `feature_columns` only with a table, but got {name}, which holds a matrix. Name an array with "
            "feature_key=NAME."
        )
    key = choose_array(others, name, asked.key, label)
    if key != asked.key:
        refuse(named_unlike_features([key]), [key], [key], name, "feature_key")
    matrix = arrays.matrix(key)
    left_out = tuple(other for other in shapes if other not in (key, label, split, *named))
    return Found(
        matrix, labels, Taken(values_shown(key, matrix.shape[1]), label_column=label, left_out=left_out), names, splits
    )


def _columns(shapes: Mapping[str, tuple[int, ...]], label: str, asked: Asked, name: str) -> list[str]:
    """Return the arrays that are features each; none where there is a matrix, or one was asked for."""
    found = {key: shape[0] for key, shape in shapes.items() if len(shape) == 1 and key != label}
    if asked.key is not None or any(len(shape) > 1 for key, shape in shapes.items() if key != label):
        return []
    if len(found) < 2 and not asked.features:
        return []
    if asked.features:
        return named_columns(list(found), asked.features, name, label)
    lengths = {length: key for key, length in found.items()}
    if len(lengths) > 1:
        (long, one), (short, other) = max(lengths.items()), min(lengths.items())
        raise ValueError(
            f"Expected one matrix of features in {name}, or arrays of one length, one a feature, but got {one} with "
            f"{long:,} values and {other} with {short:,}. Name those that are features with feature_columns=NAMES."
        )
    return list(found)


def _of_columns(
    arrays: NamedArrays, columns: list[str], shapes: Mapping[str, Any], label: str, asked: Asked
) -> tuple[ColumnRows, Taken]:
    there, name = [key for key in shapes if len(shapes[key]) == 1], arrays.name
    values = {key: arrays.column(key) for key in columns}
    wrong = [key for key in columns if values[key].dtype.kind not in "fiub"]
    reasons = {} if asked.features else _reasons({key: values[key] for key in columns if key not in wrong})
    if wrong:
        rest = [key for key in columns if key not in wrong and key not in reasons]
        cure = f"Leave it out with feature_columns={spelled(rest, there)}" if rest else "Convert it"
        if not label and not asked.features:
            cure += f", or name the label with label_column={wrong[0]}"
        raise ValueError(
            f"Expected the arrays of {name} to be numbers besides the label, but `{wrong[0]}` is "
            f"{values[wrong[0]].dtype}. {cure}."
        )
    refuse(reasons, columns, there, name)
    lengths = {len(values[key]) for key in columns}
    if len(lengths) > 1:
        raise ValueError(
            f"Expected features of {name} of one length, but got {min(lengths):,} and {max(lengths):,} values. Name "
            "those of the same samples."
        )
    return ColumnRows([values[key] for key in columns], name), taken(columns, there, label)


def _reasons(values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return why arrays of numbers are no features, by their names and their values."""
    columns = list(values)
    flags = [key for key in columns if values[key].dtype.kind == "b"]
    watch = Watch(columns, columns)
    if columns:
        watch.see(np.stack([np.asarray(values[key]) for key in columns], axis=1))
    return {**watch.reasons(flags), **named_unlike_features(columns)}
