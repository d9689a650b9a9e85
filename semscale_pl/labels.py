"""Labels as class numbers and names: whole numbers or words in, 0..C-1 and C names out."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

# A wrong file of features is refused before torch is imported, which takes seconds.
if TYPE_CHECKING:
    from torch import Tensor

Labels: TypeAlias = "Tensor | np.ndarray | Sequence[Any]"

# What str(int(x)) == x holds for: no sign but a minus, no zero before it, no point, no other digits than 0 to 9.
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
# A longer one is an identifier: it stays a word.
_MOST_DIGITS = 15
# Above, float64 does not hold every whole number: classes would become one.
_LARGEST = 2**53
# The largest whole number of int64 stands for all that are larger.
_LARGEST_INTEGER = 2**63 - 1
# Letters below are written in one way only.
_FIRST_ACCENT = 0x300
_IN_FLOATS = {8: " in bfloat16", 11: " in float16", 24: " in float32"}
_UNLABELLED = "Leave unlabelled samples out"


def class_numbers(labels: Labels, num_classes: int | None = None, name: str = "labels") -> tuple[Tensor, int | None]:
    """Return labels as class numbers: integers are numbers already, words are numbered by :func:`sorted_names`.

    Args:
        labels: (N,) whole numbers or words; a tensor of integers comes back untouched and unchecked, but one of bool or
            unsigned ones, which torch does not compare, in int64.
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
    import torch

    if isinstance(labels, torch.Tensor):
        if labels.dtype not in (torch.bool, torch.uint16, torch.uint32, torch.uint64):
            return labels, num_classes
        return torch.from_numpy(label_array(labels, name)).to(labels.device), num_classes
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
    """Number the classes that occur in sorted order, see :func:`sorted_names`.

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


def class_positions(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the classes that labels mean where the classes have names already: by name, or as numbers by position.

    Args:
        labels: (N,) of :func:`label_array`; numbers may be read as text.
        names: of C classes.

    Returns:
        (N,) int64 in [0, C); -1 for what is no class.

    Example:
        >>> class_positions(np.array(["dog", "cat", "cow"]), ["cat", "dog"]).tolist()
        [1, 0, -1]
        >>> class_positions(np.array([1, 0, 2]), ["cat", "dog"]).tolist()
        [1, 0, -1]
    """
    words, places = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "U" and not (are_numbers(words.tolist()) and set(names).isdisjoint(words.tolist())):
        positions = {name: position for position, name in enumerate(names)}
        return np.array([positions.get(word, -1) for word in words.tolist()], dtype=np.int64)[places]
    numbers = labels.astype(np.int64)
    numbers[numbers >= len(names)] = -1
    return numbers


def positions_either_way(labels: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """Return the classes that labels mean where nothing says whether they are names or count these from 0.

    Args:
        labels: (N,) of :func:`label_array`.
        names: of C classes.
        what: the labels are, for the message.

    Returns:
        (N,) int64 in [0, C); -1 for what is no class.

    Raises:
        ValueError: the names are numbers themselves, and the labels are other classes as names than as positions.

    Example:
        >>> positions_either_way(np.array([1, 3]), ["1", "2", "3"], "labels").tolist()
        [0, 2]
    """
    words, places = np.unique(labels, return_inverse=True)
    texts = [str(word) for word in words.tolist()]
    positions = {name: position for position, name in enumerate(names)}
    if not are_numbers(texts) or not set(texts) <= set(positions):
        return class_positions(labels.astype(np.int64) if are_numbers(texts) else labels, names)
    named = np.array([positions[text] for text in texts], dtype=np.int64)
    counted = np.array([int(text) for text in texts], dtype=np.int64)
    if counted.max(initial=0) < len(names) and (named != counted).any():
        one = texts[int(np.flatnonzero(named != counted)[0])]
        raise ValueError(
            f"Expected `{what}` to be names of classes or to count them from 0, but {one!r} may be the class of that "
            f"name or the one at that place, {names[int(one)]!r}. Leave class_names out where the labels are the "
            "names, or give names that are no numbers."
        )
    return named[places]


def class_names_in(file: Path) -> list[str]:
    """Read the names of classes, in their order: a `.txt` file with a name a line, or a `.json` file with a list.

    Raises:
        ValueError: it cannot be read, holds something else, or a name is empty or comes twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        names = json.loads(text) if file.suffix.lower() == ".json" else text.rstrip().split("\n")
    except (OSError, ValueError) as error:
        kind = "JSON" if file.suffix.lower() == ".json" else "text in UTF-8"
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"Expected {file.name} to be {kind}, but {what}. Correct it.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected a list of the classes' names in {file.name}, but got something else. Correct it.")
    return checked_names(names, file.name)


def checked_names(names: Iterable[str], where: str) -> list[str]:
    """Return names of classes without blanks around them and with composed accents.

    Raises:
        ValueError: there is none, or one is empty or comes twice.
    """
    found = [composed(str(name).strip()) for name in names]
    if not found or not all(found):
        what = "none" if not found else f"an empty one for class {found.index('')}"
        raise ValueError(f"Expected a name for every class in {where}, but got {what}. Name every class once.")
    if len(set(found)) < len(found):
        twice = next(name for place, name in enumerate(found) if name in found[:place])
        raise ValueError(f"Expected every class once in {where}, but {twice!r} comes twice. Name every class once.")
    return found


def are_numbers(words: Iterable[str]) -> bool:
    """Tell whether labels read as text are numbers: whole ones of at most 15 digits, all as ``str`` writes them.

    Example:
        >>> [are_numbers(words) for words in (["9", "10"], ["001", "010"], ["1_0"], ["1e1"], ["1.0"], ["7", "a"])]
        [True, False, False, False, False, False]
    """
    return all(_WHOLE.fullmatch(word) and len(word.lstrip("-")) <= _MOST_DIGITS for word in words)


def sorted_names(words: Collection[str]) -> list[str]:
    """Sort different names of classes: by number where :func:`are_numbers` holds, so that 10 comes after 9.

    Example:
        >>> sorted_names({"10", "9"}), sorted_names({"10", "9", "b"})
        (['9', '10'], ['10', '9', 'b'])
    """
    return sorted(words, key=int) if are_numbers(words) else sorted(words)


def numbers_or_words(words: np.ndarray) -> np.ndarray:
    """Return labels read as text (N,) as int64 where :func:`are_numbers` holds, otherwise as they stand.

    Example:
        >>> numbers_or_words(np.array(["10", "9"])), numbers_or_words(np.array(["001", "1"]))
        (array([10,  9]), array(['001', '1'], dtype='<U3'))
    """
    names, inverse = np.unique(words, return_inverse=True)
    return names.astype(np.int64)[inverse] if len(names) and are_numbers(names.tolist()) else words


def label_array(values: Labels, name: str = "labels") -> np.ndarray:
    """Return labels as (N,) int64 numbers or (N,) words.

    Args:
        values: (N,) or (N, 1), whole numbers of at least 0, or words; an array (of pandas or pyarrow, too), a tensor
            or a list. Words are kept as they stand, but accents are composed (NFC).
        name: of the labels in messages.

    Raises:
        ValueError: another shape, or a label that is missing, negative, fractional, too large for its type to be told
            from others, or a Python object.
    """
    given, values = values, _as_array(values, name)
    exact_below = _exact_below(given if _is_tensor(given) else values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"Expected `{name}` of shape (samples,), but got shape {values.shape}. Give one class a sample"
            f"{', for example labels.argmax(1)' if values.ndim == 2 else ''}."
        )
    if values.dtype.kind in "OT":
        values = _of_objects(values.astype(object), name)
    return _words(values, name) if values.dtype.kind in "SU" else _whole(values, name, exact_below)


def composed(name: str) -> str:
    r"""Return a name with composed accents (Unicode NFC), as macOS and Linux write one name in two ways.

    Example:
        >>> composed("Kra\u0308he") == "Kr\u00e4he"
        True
    """
    return unicodedata.normalize("NFC", name)


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
    if are_numbers(names.tolist()):
        order = names.astype(np.int64).argsort()
        names, numbers = names[order], order.argsort()[numbers]
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
    return _composed(words)


def _composed(words: np.ndarray) -> np.ndarray:
    """Return words with composed accents, as macOS and Linux write one name in two ways."""
    if words.size == 0 or np.ascontiguousarray(words).view(np.uint32).max() < _FIRST_ACCENT:
        return words
    names, places = np.unique(words, return_inverse=True)
    return np.array([composed(name) for name in names.tolist()])[places]


def _of_objects(values: np.ndarray, name: str) -> np.ndarray:
    """Return the words or numbers that Python objects are."""
    others: list[Any] = []
    for wanted, dtype in ((str, np.str_), (Integral, np.int64), (Real, np.float64)):
        others = [value for value in values if not isinstance(value, wanted) or _is_missing(value)]
        if not others:
            return (values if wanted is str else values.clip(-1, _LARGEST_INTEGER)).astype(dtype)
        if wanted is str and len(others) < len(values):
            break
    missing = [value for value in values if _is_missing(value)]
    remedy = f"{len(missing):,} samples have no class: leave them out" if missing else "Convert them first"
    raise ValueError(
        f"Expected `{name}` to be whole numbers or words, but got Python objects, among them "
        f"{(missing or others)[0]!r}. {remedy}."
    )


def _is_missing(value: Any) -> bool:
    """Tell what pandas and others put where there is no value, without importing pandas."""
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )


def _decoded(values: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        # Replacing what cannot be read would make one class of several.
        raise ValueError(f"Expected `{name}` to be words in UTF-8, but some are not. Save them as text.") from error


def _whole(values: np.ndarray, name: str, exact_below: int) -> np.ndarray:
    kind = values.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"Expected `{name}` to be whole numbers or words, but got {values.dtype}. Convert them first.")
    if len(values) == 0:
        return values.astype(np.int64)
    if kind == "f":
        missing = int((~np.isfinite(values)).sum())
        if missing:
            raise ValueError(
                f"Expected a class for every sample, but {missing:,} of `{name}` are NaN or infinite. {_UNLABELLED}."
            )
        fractional = values[values != np.floor(values)]
        if len(fractional):
            raise ValueError(
                f"Expected `{name}` to be whole numbers or words, but got {fractional[0]:g}. Save them as words."
            )
    if values.max() >= exact_below:
        largest, power = float(values.max()), (exact_below - 1).bit_length()
        remedy = "integers or words" if kind == "f" else "words"
        raise ValueError(
            f"Expected `{name}` below 2^{power}, but got {int(largest) if largest < _LARGEST else f'{largest:g}'}: "
            f"labels of this size cannot be told apart{_IN_FLOATS.get(power, '')}. Save them as {remedy}, or number "
            "the classes from 0."
        )
    if values.min() < 0:
        # 200 in int8 is -56.
        wrapped = values.dtype.itemsize == 1 and values.min() < -1
        remedy = f"Save numbers above 127 in a wider type than {values.dtype}" if wrapped else _UNLABELLED
        raise ValueError(
            f"Expected `{name}` of at least 0, but got {int(values.min())} for {int((values < 0).sum()):,} samples. "
            f"{remedy}."
        )
    return values.astype(np.int64)


def _exact_below(values: Any) -> int:
    """Return from where on the type of labels does not hold every whole number: of floats at most 2^53."""
    if _is_tensor(values):
        eps = sys.modules["torch"].finfo(values.dtype).eps if values.is_floating_point() else None
    else:
        eps = float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else None
    return _LARGEST_INTEGER if eps is None else min(round(2 / eps), _LARGEST)


def _as_array(values: Labels, name: str) -> np.ndarray:
    """Return labels of any kind as an array, floats of a tensor as float64."""
    if _is_tensor(values):
        tensor: Any = values.detach().cpu()  # type: ignore[union-attr]
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16
    if isinstance(values, np.ma.MaskedArray) and (masked := int(np.ma.count_masked(values))):
        raise ValueError(f"Expected a class for every sample, but {masked:,} of `{name}` are masked. Leave those out.")
    if isinstance(values, list | tuple) and any(isinstance(value, str) for value in values):
        return np.asarray(values, dtype=object)  # else numpy makes the word "nan" of a missing one
    if hasattr(values, "dictionary_decode"):  # of pyarrow: numpy would get the numbers that stand for the words
        values = values.dictionary_decode()
    return np.asarray(values)
