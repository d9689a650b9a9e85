"""The parts of a table: rows, columns, measures, cells, and figures of the paper to hold them against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TRAIN = "semscale_pl.cli.train:train"
LAST, SELECTED = "results.last.", "results.selected."


@dataclass(frozen=True)
class Reference:
    """A figure that the paper states: a number, or a range that ours should fall into.

    Example:
        >>> Reference(42.0, 42.9).judge(41.2), Reference(42.0, 42.9).difference(41.2)
        ('below', -0.7999999999999972)
    """

    low: float
    high: float

    @property
    def is_range(self) -> bool:
        """Tell whether there is something to fall into."""
        return self.low < self.high

    def difference(self, value: float) -> float:
        """Return ours less the paper's; for a range, how far ours lies outside, 0 within."""
        return value - min(max(value, self.low), self.high)

    def judge(self, value: float) -> str:
        """Return ``inside``, ``below`` or ``above``."""
        if self.low <= value <= self.high:
            return "inside"
        return "below" if value < self.low else "above"

    def plain(self) -> float | list[float]:
        """Return what the YAML said."""
        return [self.low, self.high] if self.is_range else self.low


@dataclass(frozen=True)
class Variant:
    """One row or one column: a name, the overrides that make it, and the paper's figures where it has some."""

    name: str
    overrides: tuple[str, ...] = ()
    paper: tuple[tuple[str, Reference], ...] = ()


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


@dataclass(frozen=True)
class Cell:
    """One training run of a table."""

    row: str
    column: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the cell's name for people."""
        column = f" · {self.column}" if self.column else ""
        return f"{self.row}{column} · seed {self.seed}"


@dataclass(frozen=True)
class Table:
    """A whole table as its YAML states it, with one profile applied."""

    name: str
    title: str
    rows: tuple[Variant, ...]
    columns: tuple[Variant, ...]
    seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    baseline: str
    base: tuple[str, ...] = ()
    contrasts: tuple[tuple[str, str], ...] = ()
    profile: str = ""
    note: str = ""
    train: str = TRAIN
    config_dir: str | None = None
    config_name: str = "train"
    pictures: tuple[str, ...] = ()

    @property
    def focus(self) -> Measure:
        """Return the measure that the comparison is about: the first paired one, or else the first."""
        return next((measure for measure in self.measures if measure.paired), self.measures[0])

    @property
    def full_name(self) -> str:
        """Return the name with the profile, as folders and groups carry it."""
        return f"{self.name}-{self.profile}" if self.profile else self.name

    def cells(self, overrides: Sequence[str] = ()) -> list[Cell]:
        """Enumerate rows x columns x seeds, seeds outermost so that an interrupted table is balanced.

        Args:
            overrides: further Hydra overrides of every cell; later ones win.

        Returns:
            The cells; the overrides of a cell are base, column, row, ``overrides``, seed, in this order.
        """
        return [
            Cell(
                row.name, column.name, seed, (*self.base, *column.overrides, *row.overrides, *overrides, f"seed={seed}")
            )
            for seed in self.seeds
            for column in self.columns
            for row in self.rows
        ]
