"""Which columns of a table are features: those that are named, or all, unless one looks like something else."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from semscale_pl.features.source import LABEL_KEYS, Taken

# Names of indices, identifiers, folds, flags, times and files; case and blanks, points or dashes for _ do not matter.
_NO_FEATURE = re.compile(
    r"unnamed.*|(.*_)?(id|ids|idx|index|uid|uuid|guid)(_?\d+)?|id_.*|index_.*|__index_level_\d+__|level_\d+"
    r"|row|rownum|row_(nr|no|num|number)|(.*_)?(fold|folds|kfold|split|partition)(_?\d+)?|cv"
    r"|is_.*|train|test|val|valid|validation|holdout|(.*_)?(timestamp|datetime|date|created_at|updated_at)"
    r"|(.*_)?(path|file|filename|file_name|url)"
)
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
# Samples from which on whole numbers that count them, or grow with them, are no coincidence.
_FEW, _MANY = 5, 20
_SHOWN, _MOST_REASONS = 4, 3


def named_columns(there: Sequence[str], wanted: Sequence[str], file: str, label: str = "") -> list[str]:
    """Return the columns that names, globs and ranges stand for, in the order of the file.

    Args:
        there: all columns.
        wanted: ``f0``, ``f*``, or ``f0..f9``: of two numbered names all between them by number, of others by place.
        file: its name, for messages.
        label: the column of labels; no glob or range means it.

    Raises:
        ValueError: something stands for no column, or names the label.

    Example:
        >>> named_columns(["a", "f0", "f1", "f10", "f2", "z"], ["f0..f2", "z"], "x.csv")
        ['f0', 'f1', 'f2', 'z']
    """
    found: set[str] = set()
    for text in wanted:
        columns = (
            [text] if text in there else _range(there, text) or [name for name in there if fnmatchcase(name, text)]
        )
        if not columns:
            raise ValueError(
                f"Expected `feature_columns` to name columns of {file}, but there is none for {text!r} among "
                f"{shown(there)}. Name some, such as feature_columns={spelled(_unlabelled(there, label), there)}."
            )
        if columns == [label]:
            raise ValueError(f"Expected `feature_columns` without the labels, but got {label!r}. Leave it out.")
        found.update(columns)
    return [name for name in there if name in found and name != label]


def shown(columns: Sequence[str]) -> str:
    """Return columns in a few words.

    Example:
        >>> shown([*(f"f{number}" for number in range(512)), "a", "b"]), shown(["a"])
        ('f0 ... f511, a, b (514 columns)', 'a (1 column)')
    """
    names = [f"{run[0]} ... {run[-1]}" if len(run) > 2 else ", ".join(run) for run in _runs(columns)]
    if len(names) > _SHOWN:
        names = [*names[: _SHOWN - 1], "...", names[-1]]
    return f"{', '.join(names)} ({len(columns):,} column{'s' if len(columns) != 1 else ''})".replace(", ...,", " ...")


def values_shown(name: str, width: int) -> str:
    """Return an array, or a column of lists, with its values a sample."""
    return f"{name} ({width:,} value{'s' if width != 1 else ''} a sample)"


def spelled(columns: Sequence[str], there: Sequence[str]) -> str:
    """Return what names these columns after ``feature_columns=``, as it is typed in a shell.

    Example:
        >>> spelled(["f0", "f1", "f2", "z"], ["id", "f0", "f1", "f2", "k", "z"])
        'f0..f2,z'
    """
    parts = list[str]()
    for run in _runs(columns):
        ends = sorted(run, key=lambda name: int(_NUMBERED.fullmatch(name)[2])) if len(run) > 2 else run  # type: ignore[index]
        brief = f"{ends[0]}..{ends[-1]}"
        parts += [brief] if len(run) > 2 and set(_range(there, brief)) == set(run) else run
    # A comma would part the name in two.
    return shlex.quote(",".join(part.replace(",", "?") for part in parts))


def named_unlike_features(columns: Sequence[str]) -> dict[str, str]:
    """Return why columns are no features by their names, by name; none that is numbered like most columns.

    Example:
        >>> list(named_unlike_features(["f0", "f1", "f2", "sample_id", "is_train", "Unnamed: 0"]))
        ['sample_id', 'is_train', 'Unnamed: 0']
    """
    numbered = numbered_alike(columns)
    return {name: reason for name in columns if name not in numbered and (reason := _named_like(name, columns))}


def refuse(
    reasons: Mapping[str, str],
    columns: Sequence[str],
    there: Sequence[str],
    file: str,
    option: str = "feature_columns",
) -> None:
    """Refuse columns that nobody named and that are no features; nothing where there is no reason.

    Args:
        reasons: why, by column.
        columns: all that would be features.
        there: all columns of the file.
        file: its name, for messages.
        option: what names features.

    Raises:
        ValueError: there is a reason; the line says what names the other columns.
    """
    if not reasons:
        return
    listed = list(reasons.items())
    what = ", ".join(f"`{name}` {reason}" for name, reason in listed[:_MOST_REASONS])
    more = f", and {len(listed) - _MOST_REASONS} more such columns" if len(listed) > _MOST_REASONS else ""
    others, them = [name for name in columns if name not in reasons], "it" if len(reasons) == 1 else "them"
    cure = f"Leave {them} out with {option}={spelled(others, there)}, or name {them} there as features."
    if not others:
        cure = f"To take {them} as features, pass {option}={spelled(columns, there)}."
    raise ValueError(f"Expected features in {file}, but {what}{more}. {cure}")


def numbered_alike(columns: Sequence[str]) -> frozenset[str]:
    """Return the columns whose names differ by a number alone, where these are most of the columns.

    Example:
        >>> sorted(numbered_alike(["f0", "f1", "f2", "id"])), numbered_alike(["a", "b", "fold"])
        (['f0', 'f1', 'f2'], frozenset())
    """
    starts = {name: match.group(1, 3) for name in columns if (match := _NUMBERED.fullmatch(name))}
    if not starts:
        return frozenset()
    start, count = Counter(starts.values()).most_common(1)[0]
    if count < 2 or 2 * count < len(columns) or _NO_FEATURE.fullmatch(_plain("".join(start))):
        return frozenset()
    return frozenset(name for name, own in starts.items() if own == start)


def taken(
    columns: Sequence[str], there: Sequence[str], label: str, index: Sequence[str] = (), width: int | None = None
) -> Taken:
    """Return what was taken from a table.

    Args:
        columns: of features.
        there: all columns.
        label: the column of labels; empty where there is none.
        index: the columns of there that are an index of pandas.
        width: values a sample of one column of lists; None for columns of numbers.
    """
    rest = [name for name in there if name not in {*columns, *index, label}]
    left_out = [f"{name} (index of pandas)" for name in index if name not in columns]
    left_out += rest if len(rest) <= _SHOWN else [shown(rest)]
    words = shown(columns) if width is None else values_shown(columns[0], width)
    return Taken(words, spelled(columns, there), label, tuple(left_out))


class Watch:
    """Looks at the values of columns on their way for what a feature does not hold.

    Args:
        columns: to look at.
        among: all that would be features.
    """

    def __init__(self, columns: Sequence[str], among: Sequence[str]) -> None:
        self.columns, self._among = list(columns), list(among)
        self._numbered = numbered_alike(among)
        self._rows = 0
        self._seen = _Seen.before(np.zeros(0))

    def see(self, rows: np.ndarray) -> None:
        """Look at the next rows (k, d) of all columns."""
        if len(rows) and self._rows == 0:
            self._seen = _Seen.before(rows[0].astype(np.float64))
        if len(rows) and len(self._seen.places):
            self._seen = self._seen.after(rows[:, self._seen.places].astype(np.float64, copy=False))
        self._rows += len(rows)

    def reasons(self, flags: Collection[str] = ()) -> dict[str, str]:
        """Return why columns are no features, by name; a dead unit among numbered columns is one.

        Args:
            flags: columns of true and false.
        """
        seen, numbers_all = self._seen, self._seen.numbers_samples(self._rows)
        found = {name: "holds true and false only" for name in flags if name not in self._numbered}
        if len(found) == len(self._among):
            found = {}
        alone = len(self._among) == 1
        some_vary = len(seen.places) < len(self._among) or not seen.constant.all()
        for number, place in enumerate(seen.places.tolist()):
            name = self.columns[place]
            least = _MANY if name in self._numbered else _FEW
            if numbers_all[number] and self._rows >= least and not alone:
                found.setdefault(name, "numbers the samples")
            elif name in self._numbered:
                continue
            elif seen.constant[number] and self._rows > 1 and some_vary:
                found.setdefault(name, "has one value in all samples")
            elif seen.whole[number] and seen.grows[number] and self._rows >= _MANY and not alone:
                found.setdefault(name, "grows from sample to sample in whole numbers")
        return found


class _Seen(NamedTuple):
    """What is known of the columns (k,) that may yet be constant, or hold whole numbers only."""

    places: np.ndarray
    first: np.ndarray
    last: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sums: np.ndarray
    squares: np.ndarray  # of the differences to the first value
    constant: np.ndarray
    whole: np.ndarray
    grows: np.ndarray

    @classmethod
    def before(cls, first: np.ndarray) -> _Seen:
        nothing, yes = np.zeros(len(first)), np.ones(len(first), bool)
        return cls(np.arange(len(first)), first, first - 1, first, first, nothing, nothing, yes, yes, yes)

    def after(self, rows: np.ndarray) -> _Seen:
        """Return what is known after more rows (n, k)."""
        with np.errstate(all="ignore"):  # NaN and infinity are found where features are measured
            shifted = rows - self.first
            found = self._replace(
                last=rows[-1],
                low=np.minimum(self.low, rows.min(0)),
                high=np.maximum(self.high, rows.max(0)),
                sums=self.sums + shifted.sum(0),
                squares=self.squares + np.square(shifted).sum(0),
                constant=self.constant & (shifted == 0).all(0),
                whole=self.whole & (rows == np.floor(rows)).all(0) & np.isfinite(rows).all(0),
                grows=self.grows & (np.diff(rows, axis=0, prepend=self.last[None]) > 0).all(0),
            )
        still = found.constant | found.whole
        return found if still.all() else _Seen(*(values[still] for values in found))

    def numbers_samples(self, rows: int) -> np.ndarray:
        """Tell for each column whether it holds as many whole numbers in a row as there are rows, in any order."""
        start = self.low - self.first
        sums = rows * start + rows * (rows - 1) / 2
        squares = rows * start**2 + start * rows * (rows - 1) + (rows - 1) * rows * (2 * rows - 1) / 6
        same = np.isclose(self.sums, sums, rtol=1e-12) & np.isclose(self.squares, squares, rtol=1e-12)
        return self.whole & (self.high - self.low == rows - 1) & same


def _runs(columns: Sequence[str]) -> list[list[str]]:
    """Cut columns where the name around their number changes; every name without a number is one for itself."""
    runs, before = list[list[str]](), None
    for name in columns:
        match = _NUMBERED.fullmatch(name)
        start = match.group(1, 3) if match else None
        if start is not None and start == before:
            runs[-1].append(name)
        else:
            runs.append([name])
        before = start
    return runs


def _plain(name: str) -> str:
    # isTrain is is_train.
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).strip("_").lower()


def _named_like(name: str, columns: Sequence[str]) -> str:
    plain = _plain(name)
    if _NO_FEATURE.fullmatch(plain) or name.startswith("__index_level_"):
        return "is named like an index, a split, a time or a file"
    # A point has an x and a y.
    if plain in LABEL_KEYS and not (plain == "y" and {"x", "X"} & set(columns)):
        return "is named like a label"
    return ""


def _range(there: Sequence[str], text: str) -> list[str]:
    """Return the columns from the one to the other name of ``a..b``; none where it is no such range."""
    first, dots, last = text.partition("..")
    if not dots or first not in there or last not in there:
        return []
    ends = _NUMBERED.fullmatch(first), _NUMBERED.fullmatch(last)
    if ends[0] and ends[1] and ends[0].group(1, 3) == ends[1].group(1, 3):
        low, high, start = int(ends[0][2]), int(ends[1][2]), ends[0].group(1, 3)
        matches = [(name, _NUMBERED.fullmatch(name)) for name in there]
        return [
            name for name, match in matches if match and match.group(1, 3) == start and low <= int(match[2]) <= high
        ]
    return list(there[there.index(first) : there.index(last) + 1])


def _unlabelled(there: Sequence[str], label: str) -> list[str]:
    return [name for name in there if name != label]
