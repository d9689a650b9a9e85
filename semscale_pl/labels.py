"""Labels as class numbers and names: whole numbers or words in, 0..C-1 and C names out."""

from __future__ import annotations

import numpy as np

# Above, floats do not hold every whole number, and unsigned ones soon leave int64: classes would become one.
_LARGEST = 2**53


def encode_labels(values: np.ndarray, name: str = "labels") -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the classes in sorted order.

    Args:
        values: (N,) or (N, 1), whole numbers of at least 0, or words.
        name: what to call them in messages.

    Returns:
        (N,) int64 class numbers, and the C names: the words, or the numbers as written.

    Raises:
        ValueError: no labels, another shape, or a label that is missing, negative, fractional or a Python object.

    Example:
        >>> encode_labels(np.array(["dog", "cat", "dog"]))
        (array([1, 0, 1]), ('cat', 'dog'))
    """
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"Expected `{name}` of shape (samples,), but got shape {values.shape}. Give one class a sample"
            f"{', for example labels.argmax(1)' if values.ndim == 2 else ''}."
        )
    if len(values) == 0:
        raise ValueError(f"Expected at least one label in `{name}`, but got none.")
    if values.dtype.kind in "SU":
        return _words(values, name)
    names, numbers = _ranked(_whole(values, name))
    return numbers, tuple(str(value) for value in names.tolist())


def check_labels_of_rows(labels: np.ndarray, num_rows: int) -> None:
    """Refuse labels that are not one for each row.

    Raises:
        ValueError: another number of labels than rows.
    """
    if labels.shape != (num_rows,):
        raise ValueError(
            f"Expected one label for each of the {num_rows:,} rows, but got {len(labels):,} labels. "
            "Check that features and labels come from the same samples."
        )


def _ranked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers that occur, ascending, and the place of every value among them."""
    if values.max() >= len(values) + 2**16:
        names, numbers = np.unique(values, return_inverse=True)
        return names, numbers.astype(np.int64)
    # Small numbers are counted instead of sorted.
    occurs = np.bincount(values) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[values]


def _words(values: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    words = values if values.dtype.kind == "U" else _decoded(values, name)
    empty = int((np.char.strip(words) == "").sum())
    if empty:
        raise ValueError(f"Expected every label of `{name}` to name a class, but got {empty:,} empty ones. Fill them.")
    names, numbers = np.unique(words, return_inverse=True)
    stripped = np.char.strip(names)
    _, first, counts = np.unique(stripped, return_index=True, return_counts=True)
    if (counts > 1).any():
        twice = names[stripped == stripped[first[counts > 1][0]]].tolist()
        raise ValueError(
            f"Expected classes of `{name}` to differ by more than blanks around their names, but got {twice[0]!r} and "
            f"{twice[1]!r}. Strip the names."
        )
    return numbers.astype(np.int64), tuple(names.tolist())


def _decoded(values: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        # Replacing what cannot be read would make one class of several.
        raise ValueError(f"Expected `{name}` to be words in UTF-8, but some are not. Save them as text.") from error


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        kind = "Python objects" if values.dtype.kind == "O" else str(values.dtype)
        raise ValueError(f"Expected `{name}` to be whole numbers or words, but got {kind}. Convert them first.")
    if values.dtype.kind == "f":
        missing = int((~np.isfinite(values)).sum())
        if missing:
            raise ValueError(f"Expected a class for every sample, but {missing:,} of `{name}` are NaN or infinite.")
        fractional = values[values != np.floor(values)]
        if len(fractional):
            raise ValueError(f"Expected `{name}` to be whole numbers or words, but got {fractional[0]:g}.")
    if values.max() >= _LARGEST:
        raise ValueError(f"Expected `{name}` below 2^53, but got {values.max():g}. Number the classes from 0.")
    if values.min() < 0:
        raise ValueError(
            f"Expected `{name}` of at least 0, but got {int(values.min())} for {int((values < 0).sum()):,} samples. "
            "Leave unlabelled samples out."
        )
    return values.astype(np.int64)
