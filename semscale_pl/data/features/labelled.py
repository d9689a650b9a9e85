"""Rows, labels and names together: what every format gives to the measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from semscale_pl.analysis.class_labels import check_labels_of_rows, encode_labels


class Rows(Protocol):
    """The features of a file.

    Attributes:
        shape: (N, d).
        dtype: float32 or float64, of the rows that :meth:`rows` yields.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        ...


class LabelledRows:
    """A :class:`semscale_pl.analysis.feature_source.FeatureSource` made of rows and raw labels.

    Args:
        rows: of the features.
        labels: (N,) whole numbers or words.
        name: for messages.

    Raises:
        ValueError: the labels cannot be used, or are not one for each row.
    """

    def __init__(self, rows: Rows, labels: np.ndarray, name: str) -> None:
        self.labels, self.class_names = encode_labels(labels, f"labels of {name}")
        check_labels_of_rows(self.labels, rows.shape[0])
        self.name, self.itemsize = name, rows.dtype.itemsize
        self.num_rows, self.num_features = rows.shape
        self._rows = rows

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return self._rows.rows(wanted, size)


def picked(blocks: Iterable[tuple[int, np.ndarray]], wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield wanted rows of a matrix that is read block by block.

    Args:
        blocks: number of the first row, and consecutive rows (k, d); blocks without a wanted row may be left out.
        wanted: (K,) ascending row numbers.
        size: most rows of a piece.

    Example:
        >>> blocks = [(0, np.array([[0], [1]])), (2, np.array([[2], [3]]))]
        >>> [piece.tolist() for piece in picked(blocks, np.array([1, 3]), 9)]
        [[[1]], [[3]]]
    """
    for start, block in blocks:
        first, last = np.searchsorted(wanted, [start, start + len(block)])
        chosen = block[wanted[first:last] - start]
        for place in range(0, len(chosen), size):
            yield chosen[place : place + size]
        if last == len(wanted):
            return
