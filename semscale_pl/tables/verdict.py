"""Sentences that say who wins, written from the numbers alone."""

from __future__ import annotations

from semscale_pl.statistics import PairedDifference
from semscale_pl.tables.aggregate import Difference, Entry, Summary, difference
from semscale_pl.tables.schema import Measure

LEVEL = 0.05


def verdict(summary: Summary) -> list[str]:
    """Say for each column what the paired differences show, and what they do not.

    Args:
        summary: of a table.

    Returns:
        Sentences; the judgement "better" or "worse" needs a Holm-adjusted p below 5 %.
    """
    sentences = []
    for column in summary.table.columns:
        entries = [e for e in summary.entries if e.column == column.name and e.measure == summary.table.focus]
        found = [entry for entry in entries if entry.interval is not None]
        if len(found) > 1:
            prefix = f"{column.name}: " if column.name else ""
            sentences += [prefix + _leader(found), *_against_baseline(found, summary.table.baseline)]
    return sentences + [_contrast(found, summary.table.focus) for found in summary.contrasts]


def _leader(entries: list[Entry]) -> str:
    measure = entries[0].measure
    ranked = sorted(entries, key=_mean, reverse=measure.higher_is_better)
    first, second = ranked[0], ranked[1]
    lead = difference(first.row, second.row, first.column, first.values, second.values)
    kind = "highest" if measure.higher_is_better else "lowest"
    text = f"{first.row} has the {kind} mean {measure.name} ({_number(_mean(first), measure)}{_unit(measure)})"
    if lead is None or lead.paired.p_value is None:
        return f"{text}; there are too few seeds to compare it with {second.row}."
    told = "is told apart from 0" if lead.paired.p_value < LEVEL else "is not told apart from 0"
    return f"{text}; its lead over {second.row}, {interval_text(lead.paired, measure)}, {told} (unadjusted)."


def _against_baseline(entries: list[Entry], baseline: str) -> list[str]:
    groups: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for entry in entries:
        if entry.difference is not None and entry.difference.p_holm is not None:
            groups[judge(entry.difference, entry.measure)].append(entry.row)
    if not any(groups.values()):
        return []
    listed = "; ".join(f"{name}: {', '.join(rows) or 'none'}" for name, rows in groups.items())
    return [f"Against {baseline} (paired by seed, Holm-adjusted p < {LEVEL}): {listed}."]


def judge(found: Difference, measure: Measure) -> str:
    """Return ``better``, ``worse`` or ``not told apart``."""
    if found.p_holm is None or found.p_holm >= LEVEL:
        return "not told apart"
    return "better" if (found.paired.mean > 0) == measure.higher_is_better else "worse"


def interval_text(paired: PairedDifference, measure: Measure) -> str:
    """Return a difference with its interval, such as ``+1.20 [+0.30, +2.10]``."""
    mean = _signed(paired.mean, measure)
    if paired.low is None or paired.high is None:
        return mean
    return f"{mean} [{_signed(paired.low, measure)}, {_signed(paired.high, measure)}]"


def p_text(value: float | None) -> str:
    """Return a p-value for people."""
    if value is None:
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _contrast(found: Difference, measure: Measure) -> str:
    place = f" ({found.column})" if found.column else ""
    if found.paired.p_value is None:
        mean = interval_text(found.paired, measure)
        return f"There are too few seeds to compare {found.row} with {found.reference}{place} ({mean})."
    words = {"better": "better than", "worse": "worse than", "not told apart": "not told apart from"}
    told = words[judge(found, measure)]
    numbers = f"{interval_text(found.paired, measure)}, p = {p_text(found.p_holm)}".replace("p = <", "p <")
    return f"{found.row} is {told} {found.reference}{place}: {numbers}."


def _mean(entry: Entry) -> float:
    return entry.interval.mean if entry.interval is not None else float("nan")


def _number(value: float, measure: Measure) -> str:
    return f"{value:.{measure.digits}f}"


def _unit(measure: Measure) -> str:
    return f" {measure.unit.strip()}" if measure.unit.strip() else ""


def _signed(value: float, measure: Measure) -> str:
    return f"{value:+.{measure.digits}f}"
