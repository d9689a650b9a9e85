"""What a measurement reads from: labelled rows of features, a few at a time; and the source that is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from semscale_pl.analysis.class_labels import check_labels_of_rows


class FeatureSource(Protocol):
    """Labelled features that need not fit into memory.

    Attributes:
        name: of the file or dataset, for messages.
        num_rows: N.
        num_features: d.
        itemsize: bytes of a number, as :meth:`rows` yields it.
        labels: (N,) int64 in [0, C).
        class_names: C names.
    """

    name: str
    num_rows: int
    num_features: int
    itemsize: int
    labels: np.ndarray
    class_names: tuple[str, ...]

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in their order.

        Args:
            wanted: (K,) ascending row numbers.
            size: most rows of a piece.

        Yields:
            (k, d) float32 or float64, k <= size; K rows in all. A piece may be overwritten by the next one.
        """
        ...


class ArraySource:
    """Features and labels that are in memory.

    Args:
        features: (N, d) numbers.
        labels: (N,) int64 in [0, C).
        class_names: C names.
        name: for messages.

    Raises:
        ValueError: the features are no matrix of numbers, or labels and features do not belong together.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], name: str = "features"
    ) -> None:
        check_matrix(features.shape, features.dtype, name)
        check_labels_of_rows(labels, features.shape[0])
        self.name, self.labels, self.class_names = name, labels, class_names
        self.num_rows, self.num_features = features.shape
        self.itemsize = row_dtype(features.dtype).itemsize
        self._features = features

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows, see :class:`FeatureSource`."""
        for start in range(0, len(wanted), size):
            piece = self._features[wanted[start : start + size]]
            yield piece.astype(row_dtype(piece.dtype), copy=False)


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
