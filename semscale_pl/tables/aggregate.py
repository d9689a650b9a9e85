"""From finished cells to the statistics of a table: intervals, paired differences, Holm's p."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semscale_pl.config.unmatched import unmatched
from semscale_pl.statistics import Interval, PairedDifference, holm, mean_interval, paired_difference
from semscale_pl.tables.derived import Metrics, compute, value_at
from semscale_pl.tables.schema import Cell, Measure, Reference, Table, Variant
from semscale_pl.tables.tuning import Choice

Values = Mapping[int, float]
RowColumn = tuple[str, str]
Finished = Mapping[tuple[str, str, int], Metrics]


@dataclass(frozen=True)
class Difference:
    """One row minus another in one column, paired by seed; ``p_holm`` is adjusted within its family of comparisons."""

    row: str
    reference: str
    column: str
    paired: PairedDifference
    p_holm: float | None = None


@dataclass(frozen=True)
class Entry:
    """One row, column and measure: the values by seed, their interval, the difference to the baseline.

    ``state`` says why there is no value, where that is known; ``published`` is the interval of the published cells.
    """

    row: str
    column: str
    measure: Measure
    values: Values
    interval: Interval | None
    difference: Difference | None = None
    paper: Reference | None = None
    state: str = ""
    published: Interval | None = None

    @property
    def has_value(self) -> bool:
        """Whether there is an interval, of this table's cells or of the published ones."""
        return self.interval is not None or self.published is not None


@dataclass(frozen=True)
class Summary:
    """The statistics of a table, and what its rows differ in besides their names."""

    table: Table
    entries: tuple[Entry, ...]
    contrasts: tuple[Difference, ...]
    unmatched: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()

    def entry(self, row: str, column: str, measure: Measure) -> Entry:
        """Return one entry."""
        return next(e for e in self.entries if (e.row, e.column, e.measure) == (row, column, measure))


def summarize(
    table: Table, results: Iterable[tuple[Cell, Metrics | None]], states: Mapping[RowColumn, str] | None = None
) -> Summary:
    """Compute the statistics of a table.

    Args:
        results: each cell with its metrics; None for a cell that has none.
        states: row and column to what to say where they have no value at all.

    Returns:
        Entries in the order rows, columns, measures. Holm's family is one measure: all its comparisons with the
        baseline over all columns; the contrasts are a family of their own.
    """
    finished = {(c.row, c.column, c.seed): metrics for c, metrics in results if metrics is not None}
    found = {
        (e.row, e.column, e.measure): e for measure in table.measures for e in _entries_of(table, finished, measure)
    }
    entries = tuple(
        replace(found[row.name, column.name, measure], state=(states or {}).get((row.name, column.name), ""))
        for row in table.rows
        for column in table.columns
        for measure in table.measures
    )
    return Summary(table, entries, _contrasts(table, finished), _unmatched(table, finished))


def values_of(table: Table, finished: Finished, row: str, column: str, measure: Measure) -> dict[int, float]:
    """Return seed to value, scaled as the measure says, of one row and column; undefined values are left out."""
    found = {}
    for (its_row, its_column, seed), metrics in finished.items():
        if (its_row, its_column) != (row, column):
            continue
        if measure.derived:
            baseline = finished.get((table.baseline, column, seed))
            value = compute(measure.derived, metrics, baseline, dict(measure.arguments))
        else:
            value = value_at(metrics, measure.key)
        if value is not None:
            found[seed] = measure.scale * value
    return dict(sorted(found.items()))


def difference(row: str, reference: str, column: str, values: Values, others: Values) -> Difference | None:
    """Compare two rows on the seeds that both have; None without such a seed."""
    seeds = [seed for seed in values if seed in others]
    if not seeds:
        return None
    paired = paired_difference([values[seed] for seed in seeds], [others[seed] for seed in seeds])
    return Difference(row, reference, column, paired)


def adjust(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """Adjust the p-values of one family; comparisons without a p-value stay out of it."""
    p_values = [found.paired.p_value if found else None for found in differences]
    adjusted = iter(holm([p_value for p_value in p_values if p_value is not None]))
    return [
        replace(found, p_holm=next(adjusted)) if found and p_value is not None else found
        for found, p_value in zip(differences, p_values, strict=True)
    ]


def _unmatched(table: Table, finished: Finished) -> tuple[str, ...]:
    """Return what rows differ in unnamed, column by column; what is the same in every column is said once."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        runs: dict[str, list[Mapping[str, Any]]] = {row.name: [] for row in table.rows}
        for (row, its_column, _), metrics in finished.items():
            if its_column == column.name and row in runs and metrics.get("config"):
                runs[row].append(metrics["config"])
        for sentence in unmatched(runs):
            found.setdefault(sentence, []).append(column.name)
    everywhere = len(table.columns)
    return tuple(
        sentence if len(columns) == everywhere else f"{', '.join(columns)}: {sentence}"
        for sentence, columns in found.items()
    )


def _entries_of(table: Table, finished: Finished, measure: Measure) -> list[Entry]:
    entries, differences = [], []
    for column in table.columns:
        baseline = values_of(table, finished, table.baseline, column.name, measure)
        for row in table.rows:
            values = values_of(table, finished, row.name, column.name, measure)
            interval = mean_interval(list(values.values())) if values else None
            compared = measure.paired and row.name != table.baseline
            found = difference(row.name, table.baseline, column.name, values, baseline) if compared else None
            differences.append(found)
            paper = _paper(table, row, column, measure)
            entries.append(Entry(row.name, column.name, measure, values, interval, paper=paper))
    return [replace(entry, difference=found) for entry, found in zip(entries, adjust(differences), strict=True)]


def _paper(table: Table, row: Variant, column: Variant, measure: Measure) -> Reference | None:
    figures = dict(row.paper)
    # A figure under the column's name alone is about what the table compares.
    names = [f"{column.name}/{measure.name}", measure.name, *([column.name] if measure == table.focus else [])]
    return next((figures[name] for name in names if name in figures), None)


def _contrasts(table: Table, finished: Finished) -> tuple[Difference, ...]:
    found = []
    for column in table.columns:
        for names in table.contrasts:
            row, reference = (values_of(table, finished, name, column.name, table.focus) for name in names)
            found.append(difference(*names, column.name, row, reference))
    return tuple(entry for entry in adjust(found) if entry is not None)
