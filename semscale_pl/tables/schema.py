"""The parts of a table (rows, columns, measures, cells), read from YAML: its keys checked, one profile applied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from semscale_pl.config.moved import current_name
from semscale_pl.options import ALSO
from semscale_pl.tables import controls
from semscale_pl.tables.derived import check_derived
from semscale_pl.tables.grids import Axes, Setting, Tuning, parse_axes, parse_tuning, settings_of

TRAIN = "semscale_pl.training.run:train"
# What a row's `head` is for the network's own; the others are those of `also`.
TRAINED = "trained"
LAST, SELECTED = "results.last.", "results.selected."
PICTURES = ("confusion",)
# Shares of a record, which lie between 0 and 1.
_SHARES = (
    "balanced_accuracy",
    "top1",
    "top5",
    "many",
    "medium",
    "few",
    "head",
    "middle",
    "tail",
    "worst_class_accuracy",
    "recall_at_1",
    "recall_at_2",
    "recall_at_4",
    "recall_at_8",
    "balanced_recall_at_1",
    "map_at_r",
    "r_precision",
    "nmi",
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Reference:
    """A figure that the paper states: a number, or a range that ours should lie in.

    Example:
        >>> Reference(42.0, 42.9).judge(41.2), Reference(42.0, 42.9).difference(41.2)
        ('below', -0.7999999999999972)
    """

    low: float
    high: float

    @property
    def is_range(self) -> bool:
        """Whether it is a range."""
        return self.low < self.high

    def difference(self, value: float) -> float:
        """Return ours less the paper's; for a range, how far ours lies outside, 0 within."""
        return value - min(max(value, self.low), self.high)

    def judge(self, value: float) -> str:
        """Return ``inside``, ``below`` or ``above``."""
        if self.low <= value <= self.high:
            return "inside"
        return "below" if value < self.low else "above"


@dataclass(frozen=True)
class Variant:
    """One row or one column: a name, the overrides that make it, and the paper's figures where it has some.

    ``tune``: keys that a row tunes beside the table's. ``controls``: those that a row asks for, None where it leaves
    that to the table. ``control_of``: the row that a row controls. ``head``: of those that one training is judged with,
    the one that a row shows; empty for a row with trainings of its own.
    """

    name: str
    overrides: tuple[str, ...] = ()
    paper: tuple[tuple[str, Reference], ...] = ()
    tune: Axes = ()
    controls: tuple[str, ...] | None = None
    control_of: str = ""
    head: str = ""


@dataclass(frozen=True)
class Measure:
    """One quantity of a table and how to show it.

    It is found under the dotted ``key`` into ``metrics.json``, or computed by the ``derived`` function of that name
    (see :mod:`semscale_pl.tables.derived`) with ``arguments``.
    """

    name: str
    key: str = ""
    scale: float = 1.0
    digits: int = 2
    unit: str = ""
    paired: bool = False
    higher_is_better: bool = True
    derived: str = ""
    arguments: tuple[tuple[str, str | float], ...] = ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return what a mean of this quantity cannot leave, as it is scaled; None where that is unknown."""
        name = self.key.rpartition(".")[2] if self.key.startswith("results.") else self.derived
        if name in (*_SHARES, "accuracy_of_third"):
            return min(0.0, self.scale), max(0.0, self.scale)
        return (-abs(self.scale), abs(self.scale)) if name == "correlation_with_S" else None


@dataclass(frozen=True)
class Cell:
    """One training run of a table.

    Args:
        tuned: how many of its overrides are of a tuned setting: those before the last, which is the seed.
        trial: number of the setting that it tries, from 1 on; 0 for a run of the table itself.
        head: that it shows of a run which other cells share, see :class:`Variant`.
    """

    row: str
    column: str
    seed: int
    overrides: tuple[str, ...]
    tuned: int = 0
    trial: int = 0
    head: str = ""

    @property
    def label(self) -> str:
        """Return the cell's name for people."""
        column = f" · {self.column}" if self.column else ""
        trial = f" · trial {self.trial}" if self.trial else ""
        return f"{self.row}{column}{trial} · seed {self.seed}"


@dataclass(frozen=True)
class Chosen:
    """The setting that tuning chose for the cells of a row and column."""

    row: str
    column: str
    setting: Setting


@dataclass(frozen=True)
class Table:
    """A whole table as its YAML states it, with one profile applied.

    ``primary`` is the comparison that was named beforehand: a row and its reference. ``chosen`` is filled in once a
    table with ``tune`` has been tuned. The rows that ``controls`` add, and the contrasts with them, are among its own.
    """

    name: str
    title: str
    rows: tuple[Variant, ...]
    columns: tuple[Variant, ...]
    seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    baseline: str
    base: tuple[str, ...] = ()
    contrasts: tuple[tuple[str, str], ...] = ()
    primary: tuple[str, str] | None = None
    profile: str = ""
    note: str = ""
    train: str = TRAIN
    config_dir: str | None = None
    config_name: str = "train"
    pictures: tuple[str, ...] = ()
    tune: Tuning | None = None
    controls: tuple[str, ...] | None = None
    chosen: tuple[Chosen, ...] = ()

    @property
    def focus(self) -> Measure:
        """Return the measure that the comparison is about: the first paired one, or else the first."""
        return next((measure for measure in self.measures if measure.paired), self.measures[0])

    @property
    def controlled(self) -> dict[str, tuple[str, ...]]:
        """Return each row with controls, with the names of these."""
        found: dict[str, tuple[str, ...]] = {}
        for row in self.rows:
            if row.control_of:
                found[row.control_of] = (*found.get(row.control_of, ()), row.name)
        return found

    @property
    def full_name(self) -> str:
        """Return the name with the profile, as folders and groups carry it."""
        return f"{self.name}-{self.profile}" if self.profile else self.name

    def cells(self, overrides: Sequence[str] = ()) -> list[Cell]:
        """Enumerate rows x columns x seeds, seeds outermost so that an interrupted table is balanced.

        Args:
            overrides: further Hydra overrides of every cell; later ones win.
        """
        chosen = {(one.row, one.column): one.setting for one in self.chosen}
        return [
            self._cell(row, column, seed, overrides, chosen.get((row.name, column.name), ()))
            for seed in self.seeds
            for column in self.columns
            for row in self.rows
        ]

    def trials(self, overrides: Sequence[str] = ()) -> list[Cell]:
        """Enumerate the tuning runs, seeds outermost, then the settings; none without ``tune``.

        They hold out a validation part and are not tested, so that nothing of the test set can be chosen by.

        Args:
            overrides: see :meth:`cells`.
        """
        if self.tune is None:
            return []
        further = (*overrides, *self.tune.base, "test=false")
        tried = [(row, settings_of(self.tune, row.tune)) for row in self.rows]
        return [
            self._cell(row, column, seed, further, settings[number], number + 1)
            for seed in self.tune.seeds
            for number in range(self.tune.trials)
            for column in self.columns
            for row, settings in tried
            if number < len(settings)
        ]

    def _cell(
        self, row: Variant, column: Variant, seed: int, overrides: Sequence[str], setting: Setting, trial: int = 0
    ) -> Cell:
        tuned = [f"{key}={value}" for key, value in setting]
        before = (*self.base, *column.overrides, *row.overrides, *self._also(row), *overrides)
        return Cell(row.name, column.name, seed, (*before, *tuned, f"seed={seed}"), len(tuned), trial, row.head)

    def _also(self, row: Variant) -> tuple[str, ...]:
        """Return the override by which one run is judged with the heads of all rows that share it with this one."""
        sharing = [one.head for one in self.rows if one.head and one.overrides == row.overrides]
        heads = [name for name in ALSO if name in sharing]
        return (f"also=[{','.join(heads)}]",) if row.head and heads else ()


def load_table(path: str | Path, profile: str | None = None) -> Table:
    """Read a table from YAML.

    Args:
        path: the file; see ``experiments/demo.yaml`` for all keys.
        profile: name of one of the file's ``profiles``, whose keys replace the file's own, except for ``base``, which
            is appended; None takes the file as it is, or its ``default_profile``.

    Raises:
        ValueError: the file is missing or misses something, or there is no such profile.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"Expected a table's YAML file, but there is no {str(file)!r}. See experiments/.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"Expected {str(file)!r} to be YAML, but got: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"Expected {str(file)!r} to hold a mapping, but got {type(content).__name__}.")
    return parse_table({"name": file.stem, **content}, profile, file.parent)


def parse_table(content: Mapping[str, Any], profile: str | None = None, folder: Path | None = None) -> Table:
    """Check a table's mapping and build the table from it.

    Args:
        profile: see :func:`load_table`.
        folder: what a relative ``config_dir`` is relative to.

    Raises:
        ValueError: a key is unknown, missing or out of range.
    """
    merged, profile = _with_profile(dict(content), profile)
    _check_keys(merged)
    rows = tuple(_variant(entry, "rows") for entry in merged["rows"])
    columns = tuple(_variant(entry, "columns") for entry in merged.get("columns") or [{"name": ""}])
    config_dir = merged.get("config_dir")
    table = Table(
        name=str(merged["name"]),
        title=str(merged.get("title", merged["name"])),
        rows=rows,
        columns=columns,
        seeds=checked_seeds(merged["seeds"]),
        measures=_with_selected_epoch([_measure(entry) for entry in merged["measures"]]),
        baseline=str(merged.get("baseline", rows[0].name if rows else "")),
        base=_overrides(merged.get("base"), "base"),
        contrasts=tuple((str(row), str(reference)) for row, reference in merged.get("contrasts", ())),
        primary=_pair(merged["primary"], "primary") if merged.get("primary") is not None else None,
        profile=profile,
        note=" ".join(str(merged.get("note", "")).split()),
        train=current_name(str(merged.get("train", TRAIN))),
        config_dir=str((folder or Path()) / config_dir) if config_dir else None,
        config_name=str(merged.get("config_name", "train")),
        pictures=_pictures(merged.get("pictures", ())),
        tune=None if merged.get("tune") is None else parse_tuning(merged["tune"]),
        controls=controls.parse_controls(merged.get("controls"), "controls"),
    )
    table = _with_controls(table)
    _check_names(table)
    check_tuning(table)
    return table


def checked_seeds(seeds: Any, key: str = "seeds") -> tuple[int, ...]:
    """Return seeds as a tuple.

    Raises:
        ValueError: they are not a list of different non-negative whole numbers.

    Example:
        >>> checked_seeds([0, 1])
        (0, 1)
    """
    whole = isinstance(seeds, Sequence) and not isinstance(seeds, str) and all(type(s) is int and s >= 0 for s in seeds)
    if not whole or not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"Expected `{key}` to be a list of different non-negative integers, but got {seeds!r}.")
    return tuple(seeds)


def check_tuning(table: Table) -> None:
    """Raise ValueError where rows tune without the table, or where tuning seeds are no seeds or the table's own."""
    if table.tune is None:
        if named := [row.name for row in table.rows if row.tune]:
            raise ValueError(f"Expected the table to have `tune`, as the row {named[0]} has, but it has none.")
        return
    checked_seeds(list(table.tune.seeds), "tune.seeds")
    if both := sorted({*table.tune.seeds} & {*table.seeds}):
        raise ValueError(
            f"Expected `tune.seeds` and `seeds` to have none in common, but got {both} in both: the table is to be "
            "measured on seeds that chose nothing."
        )
    for row in table.rows:
        settings_of(table.tune, row.tune)


def _with_profile(content: dict[str, Any], profile: str | None) -> tuple[dict[str, Any], str]:
    profiles = content.pop("profiles", None) or {}
    chosen = profile or content.pop("default_profile", None)
    content.pop("default_profile", None)
    if chosen is None:
        return content, ""
    if chosen not in profiles:
        raise ValueError(f"Expected `profile` to be one of {sorted(profiles)}, but got {chosen!r}.")
    changes = dict(profiles[chosen] or {})
    base = [*(content.get("base") or []), *(changes.pop("base", None) or [])]
    return {**content, **changes, "base": base}, str(chosen)


def _check_keys(content: Mapping[str, Any]) -> None:
    known = {*Table.__dataclass_fields__} - {"profile", "chosen"}
    if unknown := sorted(set(content) - known):
        raise ValueError(f"Expected the table's keys to be among {sorted(known)}, but got {unknown}.")
    for key in ("rows", "seeds", "measures"):
        if not content.get(key):
            raise ValueError(f"Expected the table to have `{key}`, but got {content.get(key)!r}.")


def _variant(entry: Any, where: str) -> Variant:
    known = ("name", "overrides", "paper", *(["tune", "controls", "head"] if where == "rows" else []))
    if not isinstance(entry, Mapping) or "name" not in entry or not set(entry) <= set(known):
        raise ValueError(f"Expected `{where}` to hold mappings of {', '.join(known)}, but got {entry!r}.")
    paper = tuple((str(key), _reference(value)) for key, value in (entry.get("paper") or {}).items())
    own = parse_axes(entry.get("tune") or {}, f"tune of the row {entry['name']}")
    asked = controls.parse_controls(entry.get("controls"), f"controls of the row {entry['name']}")
    head, overrides = entry.get("head", ""), _overrides(entry.get("overrides"), where)
    if head not in ("", TRAINED, *ALSO):
        raise ValueError(
            f"Expected `head` of the row {entry['name']} to be one of {', '.join((TRAINED, *ALSO))}, but got {head!r}."
        )
    if head and any(one.lstrip("+~").partition("=")[0] in ("also", "recipe") for one in overrides):
        raise ValueError(
            f"Expected the row {entry['name']} without `also` and `recipe` in its overrides, since it has `head`, but "
            f"got {list(overrides)}. Name the head by `head` alone."
        )
    return Variant(str(entry["name"]), overrides, paper, own, asked, head=head)


def _with_controls(table: Table) -> Table:
    """Add the rows that control others, each after its row, and a contrast of the row with each of them."""
    rows: list[Variant] = []
    contrasts = list(table.contrasts)
    for row in table.rows:
        rows.append(row)
        if row.controls:
            controls.check_has_scale((*table.base, *row.overrides), row.name)
        asked = row.controls
        if asked is None:
            asked = (table.controls or ()) if controls.has_scale((*table.base, *row.overrides)) else ()
        for control in asked:
            name, changed = (
                controls.name_of(row.name, control),
                controls.overrides_of(control, row.overrides, table.base),
            )
            axes = controls.axes_of_control(control, row.tune, table.tune)
            rows.append(Variant(name, changed, tune=axes, control_of=row.name))
            contrasts.append((row.name, name))
    if table.controls and len(rows) == len(table.rows):
        raise ValueError(
            "Expected a row with reweighting=semantic_scale or reweighting=scale_only for the table's `controls`, but "
            "none has one that leaves them to the table. Leave `controls` out, or put it under a row."
        )
    return replace(table, rows=tuple(rows), contrasts=tuple(dict.fromkeys(contrasts)))


def _reference(value: Any) -> Reference:
    ends = value if isinstance(value, list) else [value, value]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not numbers or len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError(f"Expected `paper` to hold numbers or ranges [low, high], but got {value!r}.")
    return Reference(float(ends[0]), float(ends[1]))


def _overrides(entries: Any, where: str) -> tuple[str, ...]:
    entries = entries or []
    if not isinstance(entries, list) or not all(isinstance(entry, str) and "=" in entry for entry in entries):
        raise ValueError(f"Expected the overrides of `{where}` to be a list of key=value, but got {entries!r}.")
    return tuple(entries)


def _measure(entry: Any) -> Measure:
    known = set(Measure.__dataclass_fields__)
    if not isinstance(entry, Mapping) or not {"name"} <= set(entry) <= known:
        raise ValueError(f"Expected `measures` to hold mappings of {sorted(known)}, but got {entry!r}.")
    if ("key" in entry) == ("derived" in entry):
        raise ValueError(f"Expected each of `measures` to have either key or derived, but got {entry!r}.")
    arguments = dict(entry.get("arguments") or {})
    if "derived" in entry:
        check_derived(str(entry["derived"]), arguments)
    elif arguments:
        raise ValueError(f"Expected `arguments` only beside derived, but got {entry!r}.")
    return Measure(**{**entry, "arguments": tuple(arguments.items())})


def _with_selected_epoch(measures: list[Measure]) -> tuple[Measure, ...]:
    """Put the value at the epoch that the validation part selected beside the last epoch's, for what is compared."""
    focus = next((measure for measure in measures if measure.paired), measures[0])
    key = focus.key.replace(LAST, SELECTED, 1)
    if not focus.key.startswith(LAST) or any(measure.key == key for measure in measures):
        return tuple(measures)
    selected = replace(focus, name=f"{focus.name}, selected epoch", key=key, paired=False)
    position = measures.index(focus) + 1
    return (*measures[:position], selected, *measures[position:])


def _pair(names: Any, where: str) -> tuple[str, str]:
    if not isinstance(names, list) or len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"Expected `{where}` to be two different rows, [row, reference], but got {names!r}.")
    return str(names[0]), str(names[1])


def _pictures(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not set(names) <= set(PICTURES):
        raise ValueError(f"Expected `pictures` to be a list of {list(PICTURES)}, but got {names!r}.")
    return tuple(names)


def _check_names(table: Table) -> None:
    if not _NAME.fullmatch(table.name):
        raise ValueError(
            f"Expected the table's `name` to be letters, digits, '-', '_' and '.', but got {table.name!r}."
        )
    for where, entries in (("rows", table.rows), ("columns", table.columns), ("measures", table.measures)):
        names = [entry.name for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected the names of `{where}` to differ, but got {names}.")
    rows = {row.name for row in table.rows}
    for name in (table.baseline, *(name for pair in table.contrasts for name in pair), *(table.primary or ())):
        if name not in rows:
            raise ValueError(f"Expected `baseline`, `contrasts` and `primary` to name rows, but got {name!r}.")
