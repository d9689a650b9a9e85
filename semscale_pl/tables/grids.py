"""The grids of a table that is tuned: what `tune:` says, and the settings that each row tries, equally many."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from semscale_pl.options import check, check_choice, read_number

# Keys with the values they may take, as text; a setting is one value of each.
Axes = tuple[tuple[str, tuple[str, ...]], ...]
Setting = tuple[tuple[str, str], ...]

PER_TABLE, PER_COLUMN = "table", "column"
_KEYS = ("grid", "trials", "seeds", "base", "per", "figure")
# What the best setting has the most of on the validation part.
FIGURES = {"balanced_accuracy": "balanced accuracy", "recall_at_1": "Recall@1", "map_at_r": "MAP@R"}
# The choice among the settings of a row looks at each of them once a trial.
_MOST_SETTINGS = 4096


@dataclass(frozen=True)
class Tuning:
    """How the rows of a table are tuned.

    Args:
        grid: keys that every row tunes, with their values.
        trials: settings that each row tries.
        seeds: of the tuning runs; none of them is one of the table's.
        base: overrides of the tuning runs alone, which hold out a validation part.
        per: ``table``: one setting of a row for all columns; ``column``: one for each.
        figure: of the validation part, that the settings are chosen by: "balanced_accuracy", "recall_at_1" or
            "map_at_r".
    """

    grid: Axes
    trials: int
    seeds: tuple[int, ...]
    base: tuple[str, ...]
    per: str = PER_TABLE
    figure: str = "balanced_accuracy"


def parse_tuning(content: Any) -> Tuning:
    """Read a table's ``tune``.

    Raises:
        ValueError: a key is unknown, missing or out of range.

    Example:
        >>> tuning = parse_tuning(
        ...     {"grid": {"optimizer.lr": [0.1, 0.2]}, "seeds": [9], "base": ["dataset.validation_fraction=0.2"]}
        ... )
        >>> tuning.grid, tuning.trials
        ((('optimizer.lr', ('0.1', '0.2')),), 2)
    """
    if not isinstance(content, Mapping) or not {"grid", "seeds", "base"} <= set(content) <= set(_KEYS):
        found = sorted(content) if isinstance(content, Mapping) else content
        raise ValueError(
            f"Expected `tune` to have grid, seeds and base, and perhaps trials, per and figure, but got {found!r}."
        )
    grid, base = parse_axes(content["grid"], "tune.grid"), content["base"]
    if not grid or any(values == () for _, values in grid):
        raise ValueError(f"Expected `tune.grid` to list values of at least one key, but got {content['grid']!r}.")
    if not isinstance(base, list) or not base or not all(isinstance(one, str) and "=" in one for one in base):
        raise ValueError(
            "Expected `tune.base` to be a list of key=value that holds out a validation part, such as "
            f"[dataset.validation_fraction=0.2], but got {base!r}."
        )
    if not isinstance(content["seeds"], list):
        raise ValueError(f"Expected `tune.seeds` to be a list such as [100, 101], but got {content['seeds']!r}.")
    size = math.prod(len(values) for _, values in grid)
    trials, per = content.get("trials", min(size, _MOST_SETTINGS)), str(content.get("per", PER_TABLE))
    figure = str(content.get("figure", "balanced_accuracy"))
    check("tune", trials=trials, per=per)
    check_choice(figure, list(FIGURES), "tune.figure")
    if trials > size:
        raise ValueError(
            f"Expected `tune.trials` to be at most {size}, the settings of `tune.grid`, so that every row gets as "
            f"many, but got {trials}. Lower it, or give the grid more values."
        )
    return Tuning(grid, trials, tuple(content["seeds"]), tuple(base), per, figure)


def parse_axes(content: Any, where: str) -> Axes:
    """Read keys with lists of values; a key of null gets none, which leaves it out of a row's grid.

    Raises:
        ValueError: it is not such a mapping, or a value is none that an override can have.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"Expected `{where}` to be a mapping of keys to lists of values, but got {content!r}.")
    axes = []
    for key, values in content.items():
        listed = [] if values is None else values
        plain = isinstance(listed, list) and all(isinstance(value, str | int | float) for value in listed)
        if not plain or (values is not None and not listed):
            raise ValueError(f"Expected `{where}.{key}` to be a list of numbers or words, but got {values!r}.")
        texts = tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in listed)
        if len(set(texts)) != len(texts) or any(set(text) & set(",=[]{} ") for text in texts):
            raise ValueError(f"Expected `{where}.{key}` to be different plain numbers or words, but got {values!r}.")
        axes.append((str(key), texts))
    return tuple(axes)


def settings_of(tuning: Tuning, own: Axes = ()) -> tuple[Setting, ...]:
    """Return the settings that a row tries: equally many for every row, by one rule.

    Of the common grid as many settings are taken as there are trials, such that the values of each key, and then the
    pairs of values of each two keys, occur as evenly as can be. They are the same for all rows. A key of the row's own
    does not add trials: its values are spread over them by the same rule. The first setting has the first value of
    every key; of what is equally even a fixed order decides.

    Args:
        own: the row's keys: further ones, common ones with other values, or without any, which leaves them out.

    Returns:
        ``tuning.trials`` settings in the order of the grid; fewer only where the row leaves keys out and has no more.

    Raises:
        ValueError: the product of the values is too large to choose from.

    Example:
        >>> tuning = Tuning((("a", ("1", "2")), ("b", ("1", "2", "3"))), 3, (0,), ())
        >>> [[value for _, value in setting] for setting in settings_of(tuning)]
        [['1', '1'], ['1', '2'], ['2', '3']]
    """
    replaced = {key for key, _ in own}
    common = tuple(axis for axis in tuning.grid if axis[0] not in replaced)
    further = tuple(axis for axis in own if axis[1])
    _check_size([*common, *further])
    first = _spread(common, list(product(*(range(len(values)) for _, values in common))), tuning.trials, 0)
    places = [(*one, *other) for one in first for other in product(*(range(len(values)) for _, values in further))]
    axes = (*common, *further)
    return tuple(
        tuple((key, values[place]) for (key, values), place in zip(axes, chosen, strict=True))
        for chosen in sorted(_spread(axes, places, tuning.trials, len(common)))
    )


def edges_of(setting: Setting, axes: Axes) -> list[str]:
    """Return the keys of a setting, each with its value and the range, whose number is the grid's least or largest.

    Of two numbers either is, which says nothing: see :func:`without_inside`.

    Example:
        >>> edges_of((("lr", "0.4"), ("wd", "2")), (("lr", ("0.1", "0.2", "0.4")), ("wd", ("1", "2", "3"))))
        ['lr=0.4 (of 0.1 to 0.4)']
    """
    found = []
    for key, text in setting:
        numbers = _numbers(dict(axes)[key])
        if len(numbers) > 2 and read_number(text) in (min(numbers), max(numbers)):
            found.append(f"{key}={text} (of {min(numbers):g} to {max(numbers):g})")
    return found


def without_inside(axes: Axes) -> list[str]:
    """Return the keys that have two numbers, so that either is an edge.

    Example:
        >>> without_inside((("lr", ("0.1", "0.2")), ("wd", ("1", "2", "3")), ("kind", ("a", "b"))))
        ['lr']
    """
    return [key for key, values in axes if len(_numbers(values)) == 2]


def _numbers(values: Sequence[str]) -> list[float]:
    """Return values as numbers; none where one of them is a word."""
    numbers = [read_number(value) for value in values]
    found = [number for number in numbers if isinstance(number, float)]
    return found if len(found) == len(numbers) else []


def axes_of(tuning: Tuning, own: Axes) -> Axes:
    """Return all keys that a row tunes, with their values."""
    return tuple((key, values) for key, values in {**dict(tuning.grid), **dict(own)}.items() if values)


def _check_size(axes: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    size = math.prod(len(values) for _, values in axes)
    if size > _MOST_SETTINGS:
        raise ValueError(
            f"Expected the values of a row's grid to give at most {_MOST_SETTINGS} settings, but got {size}. "
            "Give fewer."
        )


def _spread(axes: Axes, places: list[tuple[int, ...]], count: int, num_common: int) -> list[tuple[int, ...]]:
    """Take so many of the places that each value, then each pair of values, occurs as evenly as can be.

    Args:
        num_common: the first so many values, taken as one, come first in being even.
    """
    single: Counter[tuple[int, int]] = Counter()
    paired: Counter[tuple[int, int, int, int]] = Counter()
    common: Counter[tuple[int, ...]] = Counter()
    pairs = list(combinations(range(len(axes)), 2))

    def cost(place: tuple[int, ...]) -> tuple[Any, ...]:
        # A value of three is to occur a third as often as one of one: times the number of values they are comparable.
        ones = sum(single[axis, value] * len(axes[axis][1]) for axis, value in enumerate(place))
        twos = sum(paired[i, j, place[i], place[j]] * len(axes[i][1]) * len(axes[j][1]) for i, j in pairs)
        return common[place[:num_common]], ones, twos, hashlib.sha256(repr(place).encode()).digest()

    taken: list[tuple[int, ...]] = []
    left = list(places)
    while left and len(taken) < count:
        place = min(left, key=cost) if taken else left[0]
        left.remove(place)
        taken.append(place)
        common[place[:num_common]] += 1
        single.update(enumerate(place))
        paired.update((i, j, place[i], place[j]) for i, j in pairs)
    return taken
