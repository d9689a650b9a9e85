"""A table as Markdown, CSV, LaTeX, JSON and in the terminal, with sentences that say who wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semscale_pl import files
from semscale_pl.statistics import Interval, PairedDifference
from semscale_pl.tables.aggregate import Difference, Entry, Summary, difference
from semscale_pl.tables.schema import LAST, SELECTED, Measure, Variant

if TYPE_CHECKING:
    from rich.table import Table as RichTable


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


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "<": "$<$", "·": r"$\cdot$"}


def header(summary: Summary) -> list[str]:
    """Return the titles of the columns, row names first."""
    return ["method", *(field.title for field in fields_of(summary)), "n"]


def body(summary: Summary) -> list[list[str]]:
    """Return the cells' texts, one list a row: mean ± half width of the interval, then what stands beside it."""
    fields, lines = fields_of(summary), []
    shown = {(field.column, field.measure) for field in fields}
    for row in summary.table.rows:
        entries = {(e.column, e.measure): e for e in summary.entries if e.row == row.name}
        texts = [field.text(entries[field.column, field.measure]) for field in fields]
        sizes = sorted({len(entry.values) for place, entry in entries.items() if place in shown})
        lines.append([row.name, *texts, str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"])
    return lines


def conditions(summary: Summary) -> list[str]:
    """Return the sentences below a table: what the numbers are, the verdict, the note."""
    table = summary.table
    profile = f", profile {table.profile}" if table.profile else ""
    how = (
        f"Mean ± half width of the 95 % Student interval over {len(table.seeds)} seeds{profile}. "
        f"Differences to {table.baseline} are paired by seed, with their 95 % interval; "
        "p is Holm-adjusted within a measure."
    )
    if len(table.seeds) == 1:
        how = f"One seed{profile}, so without an interval. Differences to {table.baseline} are of the same seed."
    settings = f"Settings of all cells: `{' '.join(table.base)}`." if table.base else ""
    texts = (how, epoch_sentence(summary), paper_sentence(summary), settings, *verdict(summary), *summary.remarks)
    return [text for text in (*texts, table.note) if text]


def markdown(summary: Summary) -> str:
    """Return the table as Markdown with its conditions below."""
    titles, lines = header(summary), body(summary)
    rows = [titles, ["---", *["---:"] * (len(titles) - 1)], *lines]
    text = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([f"# {summary.table.title}", "", *text, "", "\n\n".join(conditions(summary)), ""])


def latex(summary: Summary) -> str:
    """Return the table as a LaTeX ``tabular`` (booktabs) with its conditions as comments."""
    titles = header(summary)
    lines = [f"{' & '.join(_tex(cell) for cell in row)} \\\\" for row in (titles, *body(summary))]
    top = [f"% {summary.table.title}", *(f"% {text}" for text in conditions(summary))]
    frame = [f"\\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}", "\\toprule", lines[0], "\\midrule", *lines[1:]]
    return "\n".join([*top, *frame, "\\bottomrule", "\\end{tabular}", ""])


def csv_text(summary: Summary) -> str:
    """Return one line for each row, column and measure, with plain numbers; what is undefined is empty."""
    records = [_flat(entry) for entry in summary.entries]
    return files.csv_text([list(records[0]), *(list(record.values()) for record in records)])


def as_json(summary: Summary, failures: Mapping[str, str], absent: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the statistics and the values by seed as plain data.

    Args:
        summary: of the table.
        failures: label of a failed cell to its error.
        absent: label of a cell without its dataset to what to do.

    Returns:
        What strict JSON can hold.
    """
    table = summary.table
    return {
        "name": table.name,
        "title": table.title,
        "profile": table.profile or None,
        "baseline": table.baseline,
        "seeds": list(table.seeds),
        "base": list(table.base),
        "rows": {row.name: list(row.overrides) for row in table.rows},
        "entries": [{**_flat(entry), "values": dict(entry.values)} for entry in summary.entries],
        "contrasts": [
            {"column": c.column, "row": c.row, "reference": c.reference, **_paired(c)} for c in summary.contrasts
        ],
        "verdict": verdict(summary),
        "failures": dict(failures),
        "absent": dict(absent or {}),
    }


def terminal(summary: Summary) -> RichTable:
    """Return the table for rich's console."""
    from rich.table import Table as RichTable

    drawn = RichTable(title=summary.table.title)
    for number, title in enumerate(header(summary)):
        drawn.add_column(title, justify="right" if number else "left")
    for line in body(summary):
        drawn.add_row(*line)
    return drawn


def _flat(entry: Entry) -> dict[str, Any]:
    interval, paper, published = entry.interval, entry.paper, entry.published
    compared = interval is not None and paper is not None
    return {
        "row": entry.row,
        "column": entry.column,
        "measure": entry.measure.name,
        "unit": entry.measure.unit.strip(),
        "state": entry.state,
        "n": len(entry.values),
        "mean": interval.mean if interval else None,
        "half_width": interval.half_width if interval else None,
        "paper_low": paper.low if paper else None,
        "paper_high": paper.high if paper else None,
        "ours_minus_paper": paper.difference(interval.mean) if compared else None,  # type: ignore[union-attr]
        "against_paper": paper.judge(interval.mean) if compared and paper.is_range else None,  # type: ignore[union-attr]
        "published_mean": published.mean if published else None,
        "published_half_width": published.half_width if published else None,
        "published_n": published.n if published else None,
        **_paired(entry.difference),
    }


def _paired(found: Difference | None) -> dict[str, Any]:
    names: Sequence[str] = ("mean", "low", "high", "p_value", "n")
    values = {f"difference_{name}": getattr(found.paired, name) if found else None for name in names}
    return {**values, "p_holm": found.p_holm if found else None}


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
