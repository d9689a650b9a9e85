"""Labels as class numbers and names: whole numbers or words in, 0..C-1 and C names out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

# A wrong file of features is refused before torch is imported, which takes seconds.
if TYPE_CHECKING:
    from torch import Tensor

Labels: TypeAlias = "Tensor | np.ndarray | Sequence[Any]"

# Above, floats do not hold every whole number, and unsigned ones soon leave int64: classes would become one.
_LARGEST = 2**53


def class_numbers(labels: Labels, num_classes: int | None = None, name: str = "labels") -> tuple[Tensor, int | None]:
    """Return labels as class numbers: integers are numbers already, words are numbered in the sorted order of names.

    Args:
        labels: (N,) whole numbers or words; a tensor comes back untouched and unchecked.
        num_classes: C, where it is known.
        name: of the labels in messages.

    Returns:
        (N,) numbers, and C; None where it is not given and the labels are no words.

    Raises:
        ValueError: see :func:`label_array`; or C is not the number of different words.

    Example:
        >>> class_numbers(["dog", "cat", "dog"])
        (tensor([1, 0, 1]), 2)
    """
    if _is_tensor(labels):
        return labels, num_classes  # type: ignore[return-value]
    import torch

    values = label_array(labels, name)
    if values.dtype.kind != "U":
        return torch.from_numpy(values), num_classes
    numbers, names = _ranked_words(values, name)
    if num_classes not in (None, len(names)):
        raise ValueError(
            f"Expected `num_classes` to be {len(names)}, the number of different words in `{name}`, but got "
            f"{num_classes}. Leave it out, or give class numbers instead of words."
        )
    return torch.from_numpy(numbers), len(names)


def encode_labels(values: Labels, name: str = "labels") -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the classes that occur in sorted order.

    Returns:
        (N,) int64 class numbers, and the C names: the words, or the numbers as written.

    Raises:
        ValueError: see :func:`label_array`; or none at all, or names that differ by blanks alone.

    Example:
        >>> encode_labels(np.array(["dog", "cat", "dog"]))
        (array([1, 0, 1]), ('cat', 'dog'))
    """
    labels = label_array(values, name)
    if len(labels) == 0:
        raise ValueError(f"Expected at least one label in `{name}`, but got none.")
    if labels.dtype.kind == "U":
        return _ranked_words(labels, name)
    names, numbers = _ranked(labels)
    return numbers, tuple(str(value) for value in names.tolist())


def label_array(values: Labels, name: str = "labels") -> np.ndarray:
    """Return labels as (N,) int64 numbers or (N,) words.

    Args:
        values: (N,) or (N, 1), whole numbers of at least 0, or words; an array, a tensor or a list.
        name: of the labels in messages.

    Raises:
        ValueError: another shape, or a label that is missing, negative, fractional or a Python object.
    """
    if _is_tensor(values):
        values = values.detach().cpu().numpy()  # type: ignore[union-attr]
    elif isinstance(values, list | tuple) and any(isinstance(value, str) for value in values):
        values = np.asarray(values, dtype=object)  # else numpy makes the word "nan" of a missing one
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"Expected `{name}` of shape (samples,), but got shape {values.shape}. Give one class a sample"
            f"{', for example labels.argmax(1)' if values.ndim == 2 else ''}."
        )
    if values.dtype.kind == "O":
        values = _of_objects(values, name)
    return _words(values, name) if values.dtype.kind in "SU" else _whole(values, name)


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


def _is_tensor(values: object) -> bool:
    """Tell a tensor without importing torch: where there is one, torch has been imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def _ranked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers that occur, ascending, and the rank of every value among them."""
    if values.max() >= len(values) + 2**16:
        names, numbers = np.unique(values, return_inverse=True)
        return names, numbers.astype(np.int64)
    # Small numbers are counted instead of sorted.
    occurs = np.bincount(values) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[values]


def _ranked_words(words: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
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


def _words(values: np.ndarray, name: str) -> np.ndarray:
    words = values if values.dtype.kind == "U" else _decoded(values, name)
    empty = int((np.char.strip(words) == "").sum())
    if empty:
        raise ValueError(f"Expected every label of `{name}` to name a class, but got {empty:,} empty ones. Fill them.")
    return words


def _of_objects(values: np.ndarray, name: str) -> np.ndarray:
    """Return the words or whole numbers that Python objects are."""
    for wanted, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
        others = [value for value in values if not isinstance(value, wanted)]
        if not others:
            return (values if wanted is str else values.clip(-1, _LARGEST)).astype(dtype)
        if len(others) < len(values):
            break
    raise ValueError(
        f"Expected `{name}` to be whole numbers or words, but got Python objects, among them {others[0]!r}. "
        "Convert them first."
    )


def _decoded(values: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        # Replacing what cannot be read would make one class of several.
        raise ValueError(f"Expected `{name}` to be words in UTF-8, but some are not. Save them as text.") from error


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Expected `{name}` to be whole numbers or words, but got {values.dtype}. Convert them first.")
    if len(values) == 0:
        return values.astype(np.int64)
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
