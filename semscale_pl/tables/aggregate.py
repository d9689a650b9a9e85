"""From finished cells to the statistics of a table: derived quantities, intervals, paired differences, Holm's p."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semscale_pl.statistics import Interval, PairedDifference, holm, mean_interval, paired_difference, pearson, spearman
from semscale_pl.tables.schema import Cell, Measure, Reference, Table, Variant

Metrics = Mapping[str, Any]
Values = Mapping[int, float]
Place = tuple[str, str]
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


@dataclass(frozen=True)
class Summary:
    """The statistics of a table."""

    table: Table
    entries: tuple[Entry, ...]
    contrasts: tuple[Difference, ...]
    remarks: tuple[str, ...] = ()

    def entry(self, row: str, column: str, measure: Measure) -> Entry:
        """Return one entry."""
        return next(e for e in self.entries if (e.row, e.column, e.measure) == (row, column, measure))


def summarize(
    table: Table, results: Iterable[tuple[Cell, Metrics | None]], states: Mapping[Place, str] | None = None
) -> Summary:
    """Compute the statistics of a table.

    Args:
        table: what was run.
        results: each cell with its metrics; None for a cell that has none.
        states: row and column to what to say where they have no value at all.

    Returns:
        Entries in the order rows, columns, measures. Holm's family is one measure: all its comparisons with the
        baseline over all columns; the contrasts are a family of their own.
    """
    finished = {(c.row, c.column, c.seed): metrics for c, metrics in results if metrics is not None}
    entries: list[Entry] = []
    for measure in table.measures:
        entries += _entries_of(table, finished, measure)
    order = {
        (row.name, column.name): i for i, (row, column) in enumerate((r, c) for r in table.rows for c in table.columns)
    }
    entries.sort(key=lambda entry: order[entry.row, entry.column])
    entries = [replace(e, state=(states or {}).get((e.row, e.column), "")) for e in entries]
    return Summary(table, tuple(entries), _contrasts(table, finished))


def value_at(metrics: Metrics, key: str) -> float | None:
    """Look up a number by its dotted path; None where it is absent, null or not finite.

    Args:
        metrics: nested mappings.
        key: such as ``results.last.balanced_accuracy``.

    Returns:
        The number.

    Example:
        >>> value_at({"results": {"last": {"tail": 0.5}}}, "results.last.tail")
        0.5
    """
    node: Any = metrics
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, bool) or not isinstance(node, int | float) or not math.isfinite(node):
        return None
    return float(node)


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
    known = [found for found in differences if found is not None and found.paired.p_value is not None]
    adjusted = iter(holm([found.paired.p_value for found in known if found.paired.p_value is not None]))
    return [
        replace(found, p_holm=next(adjusted)) if found is not None and found.paired.p_value is not None else found
        for found in differences
    ]


def _entries_of(table: Table, finished: Finished, measure: Measure) -> list[Entry]:
    entries, differences = [], []
    for column in table.columns:
        baseline = values_of(table, finished, table.baseline, column.name, measure)
        for row in table.rows:
            values = values_of(table, finished, row.name, column.name, measure)
            interval = mean_interval(list(values.values())) if values else None
            compared = measure.paired and row.name != table.baseline
            differences.append(
                difference(row.name, table.baseline, column.name, values, baseline) if compared else None
            )
            paper = _paper(table, row, column, measure)
            entries.append(Entry(row.name, column.name, measure, values, interval, paper=paper))
    return [replace(entry, difference=found) for entry, found in zip(entries, adjust(differences), strict=True)]


def _paper(table: Table, row: Variant, column: Variant, measure: Measure) -> Reference | None:
    figures = dict(row.paper)
    # A figure under the column's name alone is about what the table compares.
    names = [f"{column.name}/{measure.name}", measure.name, *([column.name] if measure == table.focus else [])]
    return next((figures[name] for name in names if name in figures), None)


def _contrasts(table: Table, finished: Finished) -> tuple[Difference, ...]:
    found = [
        difference(
            row,
            reference,
            column.name,
            values_of(table, finished, row, column.name, table.focus),
            values_of(table, finished, reference, column.name, table.focus),
        )
        for column in table.columns
        for row, reference in table.contrasts
    ]
    return tuple(entry for entry in adjust(found) if entry is not None)


Record = Mapping[str, Any]
Numbers = Sequence[float | None]
THIRDS = ("head", "middle", "tail")
RANKINGS = ("S", "n")


def accuracy_of_third(record: Record, baseline: Record, *, ranking: str, third: str, epoch: str = "last") -> Any:
    """Return the mean class accuracy over a third of the classes, the same third for every row of a column and seed.

    Args:
        record: of the cell.
        baseline: record of the baseline's cell of the same column and seed; its S or n ranks the classes.
        ranking: ``S`` or ``n``, from the largest value (head) to the smallest (tail).
        third: ``head``, ``middle`` or ``tail``; what three does not divide goes to the back of a ranking by S
            (333, 333 and 334 of 1,000), and to the front of one by n, as in ``results.last.head``.
        epoch: ``last`` or ``selected``.

    Returns:
        A fraction; None where a class of the ranking has no S, or nobody was tested.

    Reference: Ma et al. (ICLR 2023), App. H3.
    """
    values = baseline["class_counts"] if ranking == "n" else baseline["scales"]["S"]
    report = record["results"][epoch]
    if report is None or any(value is None for value in values):
        return None
    members = thirds_of(values, extra_last=ranking == "S")[third]
    accuracies = report["per_class"]["accuracy"]
    found = [accuracies[label] for label in members if accuracies[label] is not None]
    return sum(found) / len(found) if found else None


def thirds_of(values: Sequence[float], extra_last: bool) -> dict[str, list[int]]:
    """Cut the classes into thirds by falling value; equal values stay in the order of their labels.

    Args:
        values: C values.
        extra_last: whether what three does not divide goes to the back.

    Returns:
        ``head``, ``middle`` and ``tail`` to class labels.

    Example:
        >>> thirds_of([5, 9, 7, 9], extra_last=True)
        {'head': [1], 'middle': [3], 'tail': [2, 0]}
    """
    order = sorted(range(len(values)), key=lambda label: (-values[label], label))
    size, extra = divmod(len(order), 3)
    sizes = [size + (extra > 0), size + (extra > 1), size]
    first, second, _ = reversed(sizes) if extra_last else sizes
    return {"head": order[:first], "middle": order[first : first + second], "tail": order[first + second :]}


def correlation_with_S(  # noqa: N802  (the paper's symbol)
    record: Record, baseline: Record, *, alpha: float, method: str = "pearson", epoch: str = "last"
) -> Any:
    """Return the correlation of class accuracy with S(alpha) = S' / max S' * log2(alpha + W' / max W').

    The record holds W at alpha = 1, from which W' / max W' = 2^W - 1.

    Args:
        record: of the cell.
        baseline: not needed.
        alpha: at least 1; the larger, the weaker the role of W.
        method: ``pearson`` or ``spearman``.
        epoch: ``last`` or ``selected``.

    Returns:
        The coefficient; None where it is undefined.

    Reference: Ma et al. (ICLR 2023), section 3.3 and Table 1.
    """
    report, scales = record["results"][epoch], record["scales"]
    if report is None:
        return None
    accuracy = _numbers(report["per_class"]["accuracy"])
    weights = [math.log2(alpha + 2.0**weight - 1.0) for weight in _numbers(scales["W"])]
    # The divisor max S' leaves a correlation as it is.
    imbalance = [scale * weight for scale, weight in zip(_numbers(scales["S'"]), weights, strict=True)]
    return (pearson if method == "pearson" else spearman)(imbalance, accuracy).value


def ratio_to_baseline(record: Record, baseline: Record, *, key: str) -> Any:
    """Return a number of the record over the same number of the baseline's, such as ``cost.seconds``.

    Args:
        record: of the cell.
        baseline: record of the baseline's cell of the same column and seed.
        key: dotted path.

    Returns:
        The ratio; None where a number is missing or the baseline's is 0.
    """
    ours, theirs = value_at(record, key), value_at(baseline, key)
    return ours / theirs if ours is not None and theirs else None


DERIVED: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (accuracy_of_third, correlation_with_S, ratio_to_baseline)
}
_ALLOWED = {
    "ranking": RANKINGS,
    "third": THIRDS,
    "epoch": ("last", "selected"),
    "method": ("pearson", "spearman"),
}


def check_derived(name: str, arguments: Mapping[str, Any]) -> None:
    """Check the name and the arguments of a derived measure.

    Raises:
        ValueError: there is no such measure, or an argument is unknown, missing or out of range.
    """
    if name not in DERIVED:
        raise ValueError(f"Expected `derived` to be one of {sorted(DERIVED)}, but got {name!r}.")
    parameters = {
        key: parameter
        for key, parameter in inspect.signature(DERIVED[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    needed = {key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    if not needed <= set(arguments) <= set(parameters):
        raise ValueError(f"Expected the `arguments` of {name} to be {sorted(parameters)}, but got {sorted(arguments)}.")
    for key, value in arguments.items():
        if value not in _ALLOWED.get(key, (value,)):
            raise ValueError(f"Expected `{key}` of {name} to be one of {list(_ALLOWED[key])}, but got {value!r}.")
    alpha = arguments.get("alpha", 1.0)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha >= 1:
        raise ValueError(f"Expected `alpha` of {name} to be a number of at least 1, but got {alpha!r}.")


def compute(name: str, record: Record, baseline: Record | None, arguments: Mapping[str, Any]) -> float | None:
    """Compute a derived measure of one cell.

    Args:
        name: of the measure.
        record: of the cell.
        baseline: of the baseline's cell of the same column and seed; None where it has none yet.
        arguments: checked by :func:`check_derived`.

    Returns:
        The number; None where it is undefined or the record lacks what it needs.
    """
    if baseline is None:
        return None
    try:
        value = DERIVED[name](record, baseline, **arguments)
    except (KeyError, IndexError):  # a record of another kind of run
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def _numbers(values: Numbers) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
