"""What stands below a table in words: how its numbers are made, against the paper, and who wins."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from semscale_pl.statistics import Interval, PairedDifference, pairs_needed
from semscale_pl.tables import tuning
from semscale_pl.tables.aggregate import Difference, Entry, Summary, difference
from semscale_pl.tables.schema import LAST, SELECTED, Measure

LEVEL = 0.05
# Differences, in the unit of the measure, for which the seeds that they need are stated.
_SIZES = (0.5, 1.0, 2.0)
ABSENT = "n/a"


def conditions(summary: Summary) -> list[str]:
    """Return the sentences below a table: what the numbers are, what is not matched, the verdict, the note."""
    table = summary.table
    profile = f", profile {table.profile}" if table.profile else ""
    how = (
        f"Mean ± half width of the 95 % Student interval over {_seeds(summary)} seeds{profile}. "
        f"Differences to {table.baseline} are paired by seed, with their 95 % interval; "
        "p is Holm-adjusted within a measure, intervals are not."
    )
    if summary.primary:
        how = _families(summary, profile)
    if _finished(summary) == 1:
        one = "One seed" if len(table.seeds) == 1 else f"One of {len(table.seeds)} seeds"
        how = f"{one}{profile}, so without an interval. Differences to {table.baseline} are of the same seed."
    settings = f"Settings of all cells: `{' '.join(table.base)}`." if table.base else ""
    if any(is_uneven(entry.interval) for entry in summary.entries):
        how += (
            " Where a share is so near its bounds that this interval would leave them, [low, high] on the logit scale."
        )
    texts = (how, _epoch(summary), _paper(summary), settings, *summary.unmatched, *verdict(summary))
    tuned = tuning.sentences(table, summary.choices, summary.held_out)
    return [text for text in (*texts, *tuned, *summary.remarks, table.note) if text]


def verdict(summary: Summary) -> list[str]:
    """Say for each column what the paired differences show, and what they do not.

    Args:
        summary: of a table.

    Returns:
        Sentences; the judgement "better" or "worse" needs an adjusted p below 5 %.
    """
    sentences = [text for found in summary.primary for text in _primary(summary, found)]
    for column in summary.table.columns:
        entries = [e for e in summary.entries if e.column == column.name and e.measure == summary.table.focus]
        found = [entry for entry in entries if entry.interval is not None]
        if len(found) > 1:
            prefix = f"{column.name}: " if column.name else ""
            sentences += [prefix + _leader(found, bool(summary.primary)), *_against_baseline(summary, found)]
    pairs = {(row, control) for row, names in summary.table.controlled.items() for control in names}
    others = [found for found in summary.contrasts if (found.row, found.reference) not in pairs]
    return [*sentences, *(_contrast(found, summary.table.focus) for found in others), *_controls(summary)]


def interval_text(interval: Interval | None, measure: Measure) -> str:
    """Return a mean with the half width of its interval, such as ``38.3 ± 0.8``.

    Where a bound of the quantity bends the interval, its ends stand there, such as ``0.1 [0.0, 2.0]``.
    """
    if interval is None:
        return ABSENT
    digits, (mean, half_width, low, high, _) = measure.digits, interval
    if half_width is None or low is None or high is None:
        return f"{mean:.{digits}f}"
    if is_uneven(interval):
        return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def is_uneven(interval: Interval | None) -> bool:
    """Tell whether an interval lies unevenly about its mean, as one does that a bound has bent."""
    if interval is None or interval.half_width is None or interval.low is None or interval.high is None:
        return False
    wider = max(interval.high - interval.mean, interval.mean - interval.low)
    narrower = min(interval.high - interval.mean, interval.mean - interval.low)
    return wider - narrower > 1e-9 * max(1.0, abs(interval.mean))


def difference_text(paired: PairedDifference, measure: Measure) -> str:
    """Return a difference with its interval, such as ``+1.20 [+0.30, +2.10]``."""
    mean, digits = f"{paired.mean:+.{measure.digits}f}", measure.digits
    if paired.low is None or paired.high is None:
        return mean
    return f"{mean} [{paired.low:+.{digits}f}, {paired.high:+.{digits}f}]"


def p_text(value: float | None) -> str:
    """Return a p-value for people."""
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def against_paper(entry: Entry) -> str:
    """Return ``inside``, ``below`` or ``above`` the range that the paper states, ``n/a`` where there is none."""
    if entry.paper is None or entry.interval is None or not entry.paper.is_range:
        return ABSENT
    return entry.paper.judge(entry.interval.mean)


def _finished(summary: Summary) -> int:
    """Return how many seeds the row with the most of them has."""
    return max((entry.interval.n for entry in summary.entries if entry.interval is not None), default=0)


def _seeds(summary: Summary) -> str:
    """Name how many seeds there are, and of how many where some are not finished in any row."""
    asked, finished = len(summary.table.seeds), _finished(summary)
    return str(asked) if finished in (0, asked) else f"{finished} of {asked}"


def _families(summary: Summary, profile: str) -> str:
    """Say what stands alone, what is corrected together, and how."""
    table, others = summary.table, summary.num_others
    row, reference = table.primary or ("", "")
    columns = len(summary.primary)
    alone = "is not adjusted" if columns == 1 else f"and intervals are Bonferroni's over its {columns} columns"
    level = 100.0 * (1.0 - 0.05 / max(1, others))
    return (
        f"Mean ± half width of the 95 % Student interval over {_seeds(summary)} seeds{profile}. Differences are "
        f"paired by seed. {row} against {reference} was named as primary beforehand: its p {alone}. The other {others} "
        f"comparisons of this page are one family: p and intervals are Bonferroni's over all of them ({level:.4g} % "
        "each, so that together they cover with 95 %): an interval leaves out 0 exactly where its p is below 0.05."
    )


def _primary(summary: Summary, found: Difference) -> list[str]:
    """Say what the primary comparison shows, and what it would take to see small differences."""
    measure = summary.table.focus
    ours, theirs = (summary.entry(row, found.column, measure).values for row in (found.row, found.reference))
    text = f"Primary: {_contrast(found, measure)}"
    if found.paired.n < 2:
        return [text]
    deviation = stdev(ours[seed] - theirs[seed] for seed in ours if seed in theirs)
    needed = [pairs_needed(deviation, size) for size in _SIZES]
    counts = ", ".join("over a million" if count is None else f"{count:,}" for count in needed)
    sizes = ", ".join(f"{size:g}" for size in _SIZES)
    unit = f" {measure.unit.strip()}" if measure.unit.strip() else ""
    return [
        text,
        f"Power: with the measured spread of this difference (standard deviation {deviation:.{measure.digits + 1}f} "
        f"over {found.paired.n} seeds), differences of {sizes}{unit} are found in 80 % of cases (two-sided paired "
        f"t-test at 5 %) with {counts} seeds.",
    ]


def _epoch(summary: Summary) -> str:
    """Say which epoch's model the values are of."""
    if not any(measure.key.startswith((LAST, SELECTED)) for measure in summary.table.measures):
        return ""
    last = "Values are of the last epoch's model on the test set"
    selected = [entry for entry in summary.entries if entry.measure.key.startswith(SELECTED)]
    if any(entry.has_value for entry in selected):
        return f"{last}; where the selected epoch is named, of the one that the validation part selected."
    return f"{last}; no cell has a validation part, so none was selected." if selected else f"{last}."


def _paper(summary: Summary) -> str:
    """Say what the difference to the paper is, and which rows lie in the ranges that it gives."""
    compared = [entry for entry in summary.entries if entry.paper is not None]
    if not compared:
        return ""
    ranges = [e for e in compared if e.paper is not None and e.paper.is_range and e.interval is not None]
    found = [f"{e.row}{f' ({e.column})' if e.column else ''} {against_paper(e)}" for e in ranges]
    outside = " For a range the difference is how far the mean lies outside." if ranges else ""
    listed = f" Against the ranges: {'; '.join(found)}." if found else ""
    return f"Paper: the figure that it states.{outside}{listed}"


def _leader(entries: Sequence[Entry], with_primary: bool) -> str:
    """Say which row leads; beside a primary comparison its lead is not tested, as it was chosen by the result."""
    measure = entries[0].measure
    first, second, *_ = sorted(entries, key=_mean, reverse=measure.higher_is_better)
    lead = difference(first.row, second.row, first.column, first.values, second.values)
    kind = "highest" if measure.higher_is_better else "lowest"
    unit = f" {measure.unit.strip()}" if measure.unit.strip() else ""
    text = f"{first.row} has the {kind} mean {measure.name} ({_mean(first):.{measure.digits}f}{unit})"
    if lead is None or lead.paired.p_value is None:
        return f"{text}; there are too few seeds to compare it with {second.row}."
    if with_primary:
        return f"{text}; its lead over {second.row}, {lead.paired.mean:+.{measure.digits}f}, was not named beforehand."
    distinct = "is told apart from 0" if lead.paired.p_value < LEVEL else "is not told apart from 0"
    return f"{text}; its lead over {second.row}, {difference_text(lead.paired, measure)}, {distinct} (unadjusted)."


def _against_baseline(summary: Summary, entries: Sequence[Entry]) -> list[str]:
    groups: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for entry in entries:
        if entry.difference is not None and entry.difference.p_adjusted is not None:
            groups[_judge(entry.difference, entry.measure)].append(entry.row)
    if not any(groups.values()):
        return []
    listed = "; ".join(f"{name}: {', '.join(rows) or 'none'}" for name, rows in groups.items())
    how = "Bonferroni-adjusted" if summary.primary else "Holm-adjusted"
    return [f"Against {summary.table.baseline} (paired by seed, {how} p < {LEVEL}): {listed}."]


def _contrast(found: Difference, measure: Measure) -> str:
    column, numbers = f" ({found.column})" if found.column else "", difference_text(found.paired, measure)
    if found.paired.p_value is None:
        return f"There are too few seeds to compare {found.row} with {found.reference}{column} ({numbers})."
    p = f"p = {p_text(found.p_adjusted)}".replace("= <", "<")
    return f"{found.row} is {judgement(found, measure)} {found.reference}{column}: {numbers}, {p}."


def _controls(summary: Summary) -> list[str]:
    """Say for each row with controls and each column which of them it beats: all of them, where S itself helps."""
    sentences = []
    for row, names in summary.table.controlled.items():
        for column in summary.table.columns:
            groups: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
            for found in against_controls(summary, row, column.name):
                if found.p_adjusted is not None:
                    groups[judgement(found, summary.table.focus)].append(found.reference.removeprefix(f"{row}: "))
            if not any(groups.values()):
                continue
            listed = "; ".join(f"{words} {', '.join(which)}" for words, which in groups.items() if which)
            beaten = len(groups["better than"]) == len(names)
            claim = (
                "it beats every control" if beaten else "it does not beat every control, as a gain by S itself would"
            )
            where = f" ({column.name})" if column.name else ""
            sentences.append(f"Controls: {row}{where} is {listed}: {claim}.")
    return sentences


def against_controls(summary: Summary, row: str, column: str) -> list[Difference]:
    """Return the differences of a row to its controls in a column, wherever on the page they stand."""
    names = summary.table.controlled.get(row, ())
    found = {
        one.reference: one for one in (*summary.primary, *summary.contrasts) if (one.row, one.column) == (row, column)
    }
    return [found[name] for name in names if name in found]


def judgement(found: Difference, measure: Measure) -> str:
    """Return ``better than``, ``worse than`` or ``not told apart from``."""
    words = {"better": "better than", "worse": "worse than", "not told apart": "not told apart from"}
    return words[_judge(found, measure)]


def _judge(found: Difference, measure: Measure) -> str:
    """Return ``better``, ``worse`` or ``not told apart``."""
    if found.p_adjusted is None or found.p_adjusted >= LEVEL:
        return "not told apart"
    return "better" if (found.paired.mean > 0) == measure.higher_is_better else "worse"


def _mean(entry: Entry) -> float:
    return entry.interval.mean if entry.interval is not None else float("nan")
