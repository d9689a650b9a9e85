"""Choose each row's setting by its validation figures, and say what was chosen, from what and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from semscale_pl.files import write_text
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.derived import value_at
from semscale_pl.tables.grids import (
    FIGURES,
    PER_COLUMN,
    Axes,
    Setting,
    Tuning,
    axes_of,
    edges_of,
    settings_of,
    without_inside,
)
from semscale_pl.tables.schema import Cell, Chosen, Table, Variant

# Of a tuning run: where the figure lies that its setting is chosen by.
_VALIDATED = "results.validation."
# In the folder of a tuning run that diverged: its setting is out, and no later call tries it again.
DIVERGED = "diverged.txt"
_DIVERGENCE = "TrainingDiverged"


@dataclass(frozen=True)
class Trial:
    """One setting of a row and its mean validation figure, in [0, 1]; None where a run of it diverged."""

    setting: Setting
    figure: float | None


@dataclass(frozen=True)
class Choice:
    """The settings that a row tried, and the best of them.

    Args:
        column: that it is for; empty where it is for all of them.
        best: place among the trials; None where none can be chosen.
        edges: keys whose chosen number is the least or the largest of the grid.
    """

    row: str
    column: str
    trials: tuple[Trial, ...]
    best: int | None = None
    edges: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return row and column for people."""
        return f"{self.row} · {self.column}" if self.column else self.row

    @property
    def chosen(self) -> Trial | None:
        """Return the best trial."""
        return None if self.best is None else self.trials[self.best]


def check_overrides(table: Table, overrides: Sequence[str]) -> None:
    """Raise ValueError where overrides for every cell set what the table tunes."""
    if table.tune is None:
        return
    tuned = {key.lstrip("+") for row in table.rows for key, _ in axes_of(table.tune, row.tune)}
    for entry in overrides:
        key = entry.lstrip("+~").partition("=")[0]
        if key in tuned:
            raise ValueError(
                f"Expected overrides without {key}, which the table tunes, but got {entry}. Leave it out, or change "
                "`tune` in the table's file."
            )


def choose(table: Table, runs: Sequence[CellRun]) -> tuple[Choice, ...]:
    """Choose for each row the setting with the highest figure on the validation part, ``tune.figure``.

    The figure of a setting is the mean over tuning seeds and, where one choice is for all columns, over these, at the
    last epoch; of equal ones the first counts. A setting of which a run diverged is out.

    Args:
        runs: all tuning runs of the table.

    Returns:
        The choices, by rows and columns; ``best`` is None where runs are missing, or all settings diverged.

    Raises:
        ValueError: a tuning run was tested.
    """
    if table.tune is None:
        return ()
    figures = {_place(run.cell): _figure(table.tune, run) for run in runs}
    finished = {_place(run.cell) for run in runs if is_settled(run)}
    groups = [[one] for one in table.columns] if table.tune.per == PER_COLUMN else [list(table.columns)]
    return tuple(_choice(table, row, group, figures, finished) for row in table.rows for group in groups)


def with_choices(table: Table, choices: Sequence[Choice]) -> Table:
    """Return the table whose cells run with what was chosen."""
    chosen = [
        Chosen(one.row, column.name, one.chosen.setting)
        for one in choices
        for column in table.columns
        if one.chosen is not None and one.column in ("", column.name)
    ]
    return replace(table, chosen=tuple(chosen))


def is_settled(run: CellRun) -> bool:
    """Tell whether a tuning run has ended, with a record or by diverging."""
    return run.metrics() is not None or (run.folder / DIVERGED).is_file()


def keep_divergence(run: CellRun, failure: str) -> bool:
    """Remember that a tuning run diverged; return False for a failure that says nothing of its setting."""
    if run.cell.trial == 0 or not failure.startswith(_DIVERGENCE):
        return False
    write_text(run.folder / DIVERGED, failure)
    return True


def divergence_of(run: CellRun) -> str | None:
    """Return the failure of a tuning run that diverged."""
    file = run.folder / DIVERGED
    return file.read_text(encoding="utf-8") if run.metrics() is None and file.is_file() else None


def setting_text(setting: Setting) -> str:
    """Return a setting as it would be typed."""
    return " ".join(f"{key}={value}" for key, value in setting)


def sentences(table: Table, choices: Sequence[Choice], held_out: bool = False) -> list[str]:
    """Return how the rows were tuned, and which choices lie on an edge or stand aside from the rule.

    Args:
        held_out: whether cells of the table hold out a validation part as well.
    """
    if table.tune is None or not choices:
        return []
    own = " | ".join(f"{row.name} {_axes_text(row.tune)}" for row in table.rows if row.tune)
    where = "for each column" if table.tune.per == PER_COLUMN else "for all columns" if len(table.columns) > 1 else ""
    images = "all training images but those of a validation part of their own" if held_out else "all training images"
    how = (
        f"Tuned: each row takes the best of {table.tune.trials} settings{f' {where}' if where else ''} by "
        f"{FIGURES[table.tune.figure]} at the last epoch on a validation part (`{' '.join(table.tune.base)}`), mean "
        f"over the tuning seeds {', '.join(map(str, table.tune.seeds))}; of equal ones the first. These runs never saw "
        "the test set. The "
        f"cells of the table ran on other seeds and {images}. Grid of every row: "
        f"{_axes_text(table.tune.grid)}.{f' Keys of their own, within as many trials: {own}.' if own else ''}"
    )
    narrow = {key: None for row in table.rows for key in without_inside(axes_of(table.tune, row.tune))}
    told = [f"Of two values either is an edge of the grid: {', '.join(narrow)}."] if narrow else []
    return [how, *told, *(text for choice in choices for text in _remarks(choice, table.tune.trials))]


def header(table: Table, choices: Sequence[Choice]) -> list[str]:
    """Return the titles of the table of choices."""
    columns = ["column"] if any(choice.column for choice in choices) else []
    figure = FIGURES[table.tune.figure] if table.tune else ""
    return ["method", *columns, "chosen", f"validation {figure} (%)", "worst to best trial", "trials"]


def body(choices: Sequence[Choice]) -> list[list[str]]:
    """Return the rows of the table of choices: what was chosen, and how much it mattered."""
    has_columns = any(choice.column for choice in choices)
    return [[choice.row, *([choice.column] if has_columns else []), *_texts(choice)] for choice in choices]


def as_json(table: Table, choices: Sequence[Choice]) -> dict[str, Any] | None:
    """Return the tuning as plain data; None for a table without."""
    if table.tune is None or not choices:
        return None
    tune = table.tune
    plain = {"grid": {key: list(values) for key, values in tune.grid}, "trials": tune.trials}
    rows = {row.name: {key: list(values) for key, values in row.tune} for row in table.rows if row.tune}
    return {
        **plain,
        "rows": rows,
        "seeds": list(tune.seeds),
        "base": list(tune.base),
        "per": tune.per,
        "figure": _VALIDATED + tune.figure,
        "choices": [
            {
                "row": one.row,
                "column": one.column,
                "chosen": dict(one.chosen.setting) if one.chosen else None,
                "validation": one.chosen.figure if one.chosen else None,
                "edges": list(one.edges),
                "trials": [{"setting": dict(trial.setting), "validation": trial.figure} for trial in one.trials],
            }
            for one in choices
        ],
    }


def run_records(table: Table, runs: Sequence[CellRun]) -> list[dict[str, Any]]:
    """Return of each tuning run what was chosen by, and what computed it."""
    found = []
    key = _VALIDATED + (table.tune.figure if table.tune else "")
    for run in runs:
        record, cell = run.metrics(), run.cell
        position = {"row": cell.row, "column": cell.column, "trial": cell.trial, "seed": cell.seed}
        content: dict[str, Any] = {"overrides": list(cell.overrides), "key": run.folder.name}
        if record is None:
            content["diverged"] = divergence_of(run)
        else:
            content |= {"validation": value_at(record, key), "provenance": record.get("provenance")}
            content |= {"seconds": value_at(record, "cost.seconds"), "index_hash": record.get("index_hash")}
        found.append({**position, **content})
    return found


def _axes_text(axes: Axes) -> str:
    return "; ".join(f"{key} {', '.join(values) or 'left out'}" for key, values in axes)


def _place(cell: Cell) -> tuple[str, str, int, int]:
    return cell.row, cell.column, cell.trial, cell.seed


def _figure(tune: Tuning, run: CellRun) -> float | None:
    record = run.metrics()
    if record is None:
        return None
    results = record.get("results") or {}
    if results.get("last") is not None or results.get("selected") is not None:
        raise ValueError(f"Expected tuning runs without a test, but {run.folder} has one. Move that folder away.")
    return value_at(record, _VALIDATED + tune.figure)


def _choice(table: Table, row: Variant, group: Sequence[Variant], figures: Any, finished: Any) -> Choice:
    assert table.tune is not None
    trials, complete = [], True
    for number, setting in enumerate(settings_of(table.tune, row.tune), 1):
        places = [(row.name, column.name, number, seed) for column in group for seed in table.tune.seeds]
        complete = complete and all(place in finished for place in places)
        known = [figures[place] for place in places if figures.get(place) is not None]
        trials.append(Trial(setting, fmean(known) if len(known) == len(places) else None))
    column = group[0].name if table.tune.per == PER_COLUMN else ""
    known = [trial.figure for trial in trials if trial.figure is not None]
    if not complete or not known:
        return Choice(row.name, column, tuple(trials))
    best = next(place for place, trial in enumerate(trials) if trial.figure == max(known))
    edges = edges_of(trials[best].setting, axes_of(table.tune, row.tune))
    return Choice(row.name, column, tuple(trials), best, tuple(edges))


def _remarks(choice: Choice, trials: int) -> list[str]:
    found = []
    if choice.edges:
        found.append(f"{choice.label}: chosen on the grid's edge: {', '.join(choice.edges)}.")
    if len(choice.trials) < trials:
        found.append(f"{choice.label}: its grid has only {len(choice.trials)} settings, all of which were tried.")
    lost = [setting_text(trial.setting) for trial in choice.trials if trial.figure is None]
    if lost and choice.chosen is not None:
        found.append(f"{choice.label}: out, as a run of it diverged: {'; '.join(lost)}.")
    return found


def _texts(choice: Choice) -> list[str]:
    if choice.chosen is None:
        return ["n/a", "n/a", "n/a", str(len(choice.trials))]
    figures = [100.0 * trial.figure for trial in choice.trials if trial.figure is not None]
    return [
        setting_text(choice.chosen.setting),
        f"{100.0 * (choice.chosen.figure or 0.0):.1f}",
        f"{min(figures):.1f} to {max(figures):.1f}",
        str(len(choice.trials)),
    ]
