"""Labelled features, read a few rows at a time, from a file or from memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from semscale_pl.labels import check_labels_of_rows


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


class FeatureSource:
    """Labelled features that need not fit into memory.

    Args:
        rows: (N, d) features.
        labels: (N,) int64 in [0, C).
        class_names: C names.
        name: of the file or dataset, for messages.

    Raises:
        ValueError: the labels are not one for each row.
    """

    def __init__(self, rows: Rows, labels: np.ndarray, class_names: tuple[str, ...], name: str) -> None:
        check_labels_of_rows(labels, rows.shape[0])
        self.name, self.labels, self.class_names = name, labels, class_names
        self.num_rows, self.num_features = rows.shape
        self.itemsize = rows.dtype.itemsize  # bytes of a number, as rows() yields it
        self._rows = rows

    @property
    def counts(self) -> np.ndarray:
        """Samples of every class, (C,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

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
        ValueError: Expected the features of a.npy to be (samples, features), but got shape (3,). Flatten each sample...
    """
    if dtype.kind not in "fiub":
        kind = "Python objects" if dtype.kind == "O" else str(dtype)
        raise ValueError(f"Expected the features of {name} to be numbers, but got {kind}. Save them as a float array.")
    if len(shape) != 2:
        raise ValueError(
            f"Expected the features of {name} to be (samples, features), but got shape {tuple(shape)}. "
            "Flatten each sample to one row."
        )
    if 0 in shape:
        raise ValueError(f"Expected at least one sample and one feature in {name}, but got shape {tuple(shape)}.")


FEATURE_KEYS = ("features", "embeddings", "x", "X", "feats", "data")
LABEL_KEYS = ("labels", "label", "y", "targets", "target", "class", "class_name")


def choose_key(keys: Iterable[str], name: str, labels: bool = False) -> str:
    """Return the name under which features or labels stand.

    Returns:
        The first known name; for labels an empty string where there is none. A lone array that is not known as labels
        is the features, whatever its name.

    Raises:
        ValueError: there are no features.

    Example:
        >>> choose_key(["x", "y"], "a.npz"), choose_key(["x", "y"], "a.npz", labels=True)
        ('x', 'y')
    """
    there = list(keys)
    known = [key for key in (LABEL_KEYS if labels else FEATURE_KEYS) if key in there]
    if known or labels:
        return known[0] if known else ""
    others = [key for key in there if key not in LABEL_KEYS]
    if len(others) == 1:
        return others[0]
    found = ", ".join(there[:8]) or "nothing"
    raise ValueError(f"Expected features under the name `features` in {name}, but found {found}. Rename the array.")


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
