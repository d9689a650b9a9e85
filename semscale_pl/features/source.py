"""Labelled features, read a few rows at a time, from a file or from memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from semscale_pl.labels import Labels, check_labels_of_rows


class Rows(Protocol):
    """A matrix of features that need not fit into memory.

    Attributes:
        shape: (N, d).
        dtype: float32 or float64, of the rows that :meth:`rows` yields.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in their order.

        Args:
            wanted: (K,) ascending row indices.
            size: most rows of a piece.

        Yields:
            (k, d) float32 or float64, k <= size; K rows in all. A piece may be overwritten by the next one.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """What to take from a file.

    Args:
        features: names, globs or ranges of columns of a table; empty for all that are features.
        key: of the features in a file with several arrays.
        label: of the column or array with the labels; a usual name unless given.
        labels_elsewhere: whether the file may do without labels.
        split: of the column or array that says which part a row belongs to; None where that is not asked.
    """

    features: tuple[str, ...] = ()
    key: str | None = None
    label: str | None = None
    labels_elsewhere: bool = False
    split: str | None = None


@dataclass(frozen=True)
class Taken:
    """What was taken from a file.

    Args:
        columns: of features, in words, such as ``f0 ... f511 (512 columns)``.
        feature_columns: what names the same columns again; empty where the file has none.
        label_column: where the labels are.
        left_out: what is no feature and no label, in words.
        files: how many shards, in words; empty for one file.
        part: which rows of the file, in words; empty for all.
    """

    columns: str
    feature_columns: str = ""
    label_column: str = ""
    left_out: tuple[str, ...] = ()
    files: str = ""
    part: str = ""

    def line(self) -> str:
        """Return it in one line."""
        labels = f"; classes: {self.label_column}" if self.label_column else ""
        more = "".join(f"; {text}" for text in (self.part, self.files) if text)
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"Features: {self.columns}{labels}{more}{left_out}"


@dataclass(frozen=True)
class Found:
    """What a reader finds in a file.

    Args:
        rows: (N, d) features.
        labels: (N,) as they are stored; None where the file has none.
        taken: what was taken.
        class_names: what the file itself calls the classes, whose positions its labels then are.
        splits: (N,) which part each row belongs to, where that was asked.
    """

    rows: Rows
    labels: Labels | None
    taken: Taken
    class_names: tuple[str, ...] | None = None
    splits: np.ndarray | None = None


class FeatureSource:
    """Labelled features that need not fit into memory.

    Args:
        rows: (N, d) features.
        labels: (N,) int64 in [0, C).
        class_names: C names.
        name: of the file or dataset, for messages.
        taken: what was taken from the file; None where that is everything.
        names_given: whether the classes have their names from the file's own description or the call, rather than from
            the labels that occur.

    Raises:
        ValueError: the labels are not one for each row.
    """

    def __init__(
        self,
        rows: Rows,
        labels: np.ndarray,
        class_names: tuple[str, ...],
        name: str,
        taken: Taken | None = None,
        names_given: bool = False,
    ) -> None:
        check_labels_of_rows(labels, rows.shape[0])
        self.taken, self.names_given = taken, names_given
        self.name, self.labels, self.class_names = name, labels, class_names
        self.num_rows, self.num_features = rows.shape
        self.itemsize = rows.dtype.itemsize  # bytes of a number, as rows() yields it
        self._rows = rows

    @property
    def counts(self) -> np.ndarray:
        """Samples of every class, (C,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    @property
    def matrix(self) -> Rows:
        """The features as they lie in a file or in memory."""
        return self._rows

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``, see :meth:`Rows.rows`."""
        return self._rows.rows(wanted, size)


class ArraySource(FeatureSource):
    """Features (N, d) and labels that are in memory.

    Raises:
        ValueError: the features are no matrix of numbers, or labels and features do not belong together.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], name: str = "features"
    ) -> None:
        super().__init__(_ArrayRows(features, name), labels, class_names, name)


class _ArrayRows:
    def __init__(self, features: np.ndarray, name: str) -> None:
        check_matrix(features.shape, features.dtype, name)
        self.shape, self.dtype, self._features = features.shape, row_dtype(features.dtype), features

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(wanted), size):
            yield self._features[wanted[start : start + size]].astype(self.dtype, copy=False)


def row_dtype(dtype: np.dtype) -> np.dtype:
    """Return the type that numbers are handed out in: float32 where that holds them exactly, else float64."""
    return np.dtype(np.float32 if dtype in (np.float16, np.float32, np.int8, np.uint8, np.bool_) else np.float64)


def check_matrix(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse anything but a matrix of real numbers with at least one row and one column.

    Raises:
        ValueError: another shape or type.

    Example:
        >>> check_matrix((3,), np.dtype(np.float32), "a.npy")
        Traceback (most recent call last):
        ValueError: Expected the features of a.npy to be (samples, features), but got shape (3,). Save a matrix, a...
    """
    if dtype.kind not in "fiub":
        kind = "Python objects" if dtype.kind == "O" else str(dtype)
        raise ValueError(f"Expected the features of {name} to be numbers, but got {kind}. Save them as a float array.")
    if len(shape) != 2:
        cure = "Flatten each sample to one row" if len(shape) > 2 else "Save a matrix, a row a sample"
        raise ValueError(
            f"Expected the features of {name} to be (samples, features), but got shape {tuple(shape)}. {cure}."
        )
    if 0 in shape:
        raise ValueError(f"Expected at least one sample and one feature in {name}, but got shape {tuple(shape)}.")


FEATURE_KEYS = ("features", "embeddings", "x", "X", "feats", "data")
LABEL_KEYS = ("labels", "label", "y", "targets", "target", "class", "class_name")


def split_of(keys: Iterable[str], name: str, wanted: str | None) -> str:
    """Return the column or array that says which part a row belongs to; an empty string where none is asked for.

    Raises:
        ValueError: nothing has that name.
    """
    there = list(keys)
    if wanted is not None and wanted not in there:
        raise ValueError(
            f"Expected `{wanted}` in {name}, but found {', '.join(there[:8]) or 'nothing'}. Name the column of train, "
            "val and test with split_key=NAME."
        )
    return wanted or ""


def choose_key(keys: Iterable[str], name: str, labels: bool = False, wanted: str | None = None) -> str:
    """Return the name under which features or labels stand.

    Args:
        keys: all names.
        name: of the file, for messages.
        labels: whether labels are looked for.
        wanted: the name, where it was given.

    Returns:
        The first known name; for labels an empty string where there is none. A lone array that is not known as labels
        is the features, whatever its name.

    Raises:
        ValueError: there are no features, or more than one array of them; or nothing has the wanted name.

    Example:
        >>> choose_key(["x", "y"], "a.npz"), choose_key(["x", "y"], "a.npz", labels=True)
        ('x', 'y')
    """
    there = list(keys)
    found = ", ".join(there[:8]) or "nothing"
    if wanted is not None and wanted not in there:
        key = "label_column" if labels else "feature_key"
        raise ValueError(f"Expected `{wanted}` in {name}, but found {found}. Name one of these with {key}=NAME.")
    known = [key for key in (LABEL_KEYS if labels else FEATURE_KEYS) if key in there]
    if wanted is not None or labels:
        return wanted or (known[0] if known else "")
    candidates = known or [key for key in there if key not in LABEL_KEYS]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise ValueError(f"Expected features under the name `features` in {name}, but found {found}. Rename the array.")
    raise ValueError(
        f"Expected features under the name `features` in {name}, but found {', '.join(candidates[:8])}. Choose the "
        f"array with feature_key={candidates[0]}, for example."
    )


def choose_array(
    shapes: Mapping[str, tuple[int, ...]], name: str, wanted: str | None = None, label: str | None = None
) -> str:
    """Return the name of the features among arrays: a matrix rather than an array that is none.

    Args:
        shapes: of the arrays, by name.
        name: of the file, for messages.
        wanted: the name, where it was given.
        label: of the labels.

    Raises:
        ValueError: see :func:`choose_key`; or the labels are asked for as features.
    """
    if wanted is not None and wanted == label:
        raise ValueError(
            f"Expected `feature_key` to name features of {name}, but got its labels, {label!r}. Name others."
        )
    others = {key: shape for key, shape in shapes.items() if key != label}
    known = [key for key in FEATURE_KEYS if key in others and len(others[key]) > 1]
    return known[0] if wanted is None and len(known) == 1 else choose_key(others or shapes, name, wanted=wanted)


def picked(blocks: Iterable[tuple[int, np.ndarray]], wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield wanted rows of a matrix that is read block by block.

    Args:
        blocks: number of the first row, and consecutive rows (k, d); blocks without a wanted row may be left out.
        wanted, size: see :meth:`Rows.rows`.

    Example:
        >>> blocks = [(0, np.array([[0], [1]])), (2, np.array([[2], [3]]))]
        >>> [piece.tolist() for piece in picked(blocks, np.array([1, 3]), 9)]
        [[[1]], [[3]]]
    """
    for start, block in blocks:
        first, last = np.searchsorted(wanted, [start, start + len(block)])
        chosen = block[wanted[first:last] - start]
        for first_of_piece in range(0, len(chosen), size):
            yield chosen[first_of_piece : first_of_piece + size]
        if last == len(wanted):
            return
