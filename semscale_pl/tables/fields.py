"""The columns that a table is drawn with: each measure's value, and what there is to hold beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from semscale_pl.statistics import Interval
from semscale_pl.tables.aggregate import Entry, Summary
from semscale_pl.tables.schema import LAST, SELECTED, Measure, Variant
from semscale_pl.tables.verdict import interval_text, p_text

ABSENT = "n/a"


@dataclass(frozen=True)
class Field:
    """One drawn column.

    Args:
        title: of the column.
        column: of the table that it belongs to.
        measure: that it shows.
        text: of an entry.
    """

    title: str
    column: str
    measure: Measure
    text: Callable[[Entry], str]


def fields_of(summary: Summary) -> list[Field]:
    """Return the columns to draw; the selected epoch's are left out where no cell has a validation part.

    Args:
        summary: of a table.
    """
    return [
        field
        for column in summary.table.columns
        for measure in summary.table.measures
        for field in _fields(summary, column, measure)
    ]


def epoch_sentence(summary: Summary) -> str:
    """Say which epoch's model the values are of."""
    keys = [measure for measure in summary.table.measures if measure.key.startswith((LAST, SELECTED))]
    if not keys:
        return ""
    last = "Values are of the last epoch's model on the test set"
    selected = [e for e in summary.entries if e.measure.key.startswith(SELECTED)]
    if any(_has_value(entry) for entry in selected):
        return f"{last}; where the selected epoch is named, of the one that the validation part selected."
    return f"{last}; no cell has a validation part, so none was selected." if selected else f"{last}."


def paper_sentence(summary: Summary) -> str:
    """Say what the difference to the paper is, and which rows lie in the ranges that it gives."""
    compared = [entry for entry in summary.entries if entry.paper is not None]
    if not compared:
        return ""
    ranges = [e for e in compared if e.paper is not None and e.paper.is_range and e.interval is not None]
    found = [f"{_place(entry)} {_against(entry)}" for entry in ranges]
    outside = " For a range the difference is how far the mean lies outside." if ranges else ""
    listed = f" Against the ranges: {'; '.join(found)}." if found else ""
    return f"Paper: the figure that it states.{outside}{listed}"


def interval_of(interval: Interval | None, measure: Measure) -> str:
    """Return a mean with the half width of its interval, such as ``38.3 ± 0.8``."""
    if interval is None:
        return ABSENT
    digits, (mean, half_width) = measure.digits, interval[:2]
    return f"{mean:.{digits}f}" if half_width is None else f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def _fields(summary: Summary, column: Variant, measure: Measure) -> list[Field]:
    entries = [e for e in summary.entries if (e.column, e.measure) == (column.name, measure)]
    if measure.key.startswith(SELECTED) and not any(map(_has_value, entries)):
        return []
    prefix = f"{column.name}: " if column.name else ""
    unit = f" ({measure.unit.strip()})" if measure.unit.strip() else ""
    found: list[tuple[str, Callable[[Entry], str]]] = [(f"{measure.name}{unit}", _value)]
    if any(entry.published is not None for entry in entries):
        found.append((f"{measure.name}, published", _published))
    if any(entry.paper is not None for entry in entries):
        found += [(f"{measure.name}, paper", _paper), ("ours - paper", _difference_to_paper)]
    if any(entry.paper is not None and entry.paper.is_range for entry in entries):
        found.append(("against the paper", _against))
    if measure.paired:
        baseline = summary.table.baseline
        found.append((f"{measure.name} - {baseline}", lambda e: "" if e.row == baseline else _difference(e)))
        found.append(
            ("p", lambda e: "" if e.row == baseline else p_text(e.difference.p_holm if e.difference else None))
        )
    return [Field(f"{prefix}{title}", column.name, measure, text) for title, text in found]


def _value(entry: Entry) -> str:
    return entry.state if entry.interval is None and entry.state else interval_of(entry.interval, entry.measure)


def _published(entry: Entry) -> str:
    found = entry.published
    return ABSENT if found is None else f"{interval_of(found, entry.measure)} (n={found.n})"


def _paper(entry: Entry) -> str:
    if entry.paper is None:
        return ABSENT
    ends = [entry.paper.low, entry.paper.high] if entry.paper.is_range else [entry.paper.low]
    return " to ".join(f"{end:.{entry.measure.digits}f}" for end in ends)


def _difference_to_paper(entry: Entry) -> str:
    if entry.paper is None or entry.interval is None:
        return ABSENT
    return f"{entry.paper.difference(entry.interval.mean):+.{entry.measure.digits}f}"


def _against(entry: Entry) -> str:
    if entry.paper is None or entry.interval is None or not entry.paper.is_range:
        return ABSENT
    return entry.paper.judge(entry.interval.mean)


def _difference(entry: Entry) -> str:
    return ABSENT if entry.difference is None else interval_text(entry.difference.paired, entry.measure)


def _place(entry: Entry) -> str:
    return f"{entry.row} ({entry.column})" if entry.column else entry.row


def _has_value(entry: Entry) -> bool:
    return entry.interval is not None or entry.published is not None
