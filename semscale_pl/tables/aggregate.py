"""From finished cells to the statistics of a table: intervals, paired differences, adjusted p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semscale_pl.config.unmatched import unmatched
from semscale_pl.statistics import Interval, PairedDifference, bonferroni, holm, mean_interval, paired_difference
from semscale_pl.tables.derived import Metrics, compute, value_at
from semscale_pl.tables.schema import Cell, Measure, Reference, Table, Variant
from semscale_pl.tables.tuning import Choice

Values = Mapping[int, float]
RowColumn = tuple[str, str]
Finished = Mapping[tuple[str, str, int], Metrics]
# Measure, row, reference and column.
Comparison = tuple[Measure, str, str, str]
# Of a run's record: what keeps training images apart.
_HOLD_OUT = tuple(f"config.dataset.validation_{kind}" for kind in ("per_class", "fraction"))


@dataclass(frozen=True)
class Difference:
    """One row minus another in one column, paired by seed; ``p_adjusted`` is adjusted within its family of comparisons.

    ``level`` is that of the interval.
    """

    row: str
    reference: str
    column: str
    paired: PairedDifference
    p_adjusted: float | None = None
    level: float = 0.95


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
    """The statistics of a table, and what its rows differ in besides their names.

    ``primary`` has the comparison named beforehand, for each column; ``num_others`` counts the rest of the page's
    family. ``held_out`` says that some cells have a validation part.
    """

    table: Table
    entries: tuple[Entry, ...]
    contrasts: tuple[Difference, ...]
    unmatched: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    primary: tuple[Difference, ...] = ()
    num_others: int = 0
    held_out: bool = False

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
        baseline over all columns; the contrasts are a family of their own. Where the table names a primary comparison,
        this is a family over the columns, and all the others of all measures are the second; within each, p-values and
        intervals are Bonferroni's, so that an interval leaves out 0 exactly where its p is below 5 %.
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
    held_out = any(value_at(metrics, key) for metrics in finished.values() for key in _HOLD_OUT)
    summary = Summary(table, entries, _contrasts(table, finished), _unmatched(table, finished), held_out=held_out)
    return summary if table.primary is None else _in_two_families(summary, table.primary)


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


def difference(
    row: str, reference: str, column: str, values: Values, others: Values, level: float = 0.95
) -> Difference | None:
    """Compare two rows on the seeds that both have; None without such a seed."""
    seeds = [seed for seed in values if seed in others]
    if not seeds:
        return None
    paired = paired_difference([values[seed] for seed in seeds], [others[seed] for seed in seeds], level)
    return Difference(row, reference, column, paired, level=level)


def adjust(
    differences: Sequence[Difference | None], method: Callable[[Sequence[float]], list[float]] = holm
) -> list[Difference | None]:
    """Adjust the p-values of one family; comparisons without a p-value stay out of it."""
    p_values = [found.paired.p_value if found else None for found in differences]
    adjusted = iter(method([p_value for p_value in p_values if p_value is not None]))
    return [
        replace(found, p_adjusted=next(adjusted)) if found and p_value is not None else found
        for found, p_value in zip(differences, p_values, strict=True)
    ]


def _in_two_families(summary: Summary, primary: tuple[str, str]) -> Summary:
    """Correct the primary comparison over the columns, and all others of the page together."""
    table, focus = summary.table, summary.table.focus
    first = [(focus, *primary, column.name) for column in table.columns]
    shown = [(e.measure, e.row, e.difference.reference, e.column) for e in summary.entries if e.difference]
    contrasts = [(focus, c.row, c.reference, c.column) for c in summary.contrasts]
    others = [key for key in dict.fromkeys([*shown, *contrasts]) if key not in first]
    found = {**_family(summary, first), **(rest := _family(summary, others))}
    entries = tuple(
        replace(e, difference=found[e.measure, e.row, e.difference.reference, e.column]) if e.difference else e
        for e in summary.entries
    )
    return replace(
        summary,
        entries=entries,
        contrasts=tuple(one for key in contrasts if key not in first and (one := found[key]) is not None),
        primary=tuple(one for key in first if (one := found[key]) is not None),
        num_others=_num_tested(rest.values()),
    )


def _family(summary: Summary, keys: Sequence[Comparison]) -> dict[Comparison, Difference | None]:
    """Return the comparisons with Bonferroni's p and intervals, which together cover with 95 %."""
    values = {(e.measure, e.row, e.column): e.values for e in summary.entries}

    def compare(level: float) -> list[Difference | None]:
        return [
            difference(row, reference, column, values[measure, row, column], values[measure, reference, column], level)
            for measure, row, reference, column in keys
        ]

    plain = compare(0.95)
    level = 1.0 - 0.05 / max(1, _num_tested(plain))
    return dict(zip(keys, adjust(compare(level), bonferroni), strict=True))


def _num_tested(differences: Iterable[Difference | None]) -> int:
    return sum(one is not None and one.paired.p_value is not None for one in differences)


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
            interval = mean_interval(list(values.values()), bounds=measure.bounds) if values else None
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
