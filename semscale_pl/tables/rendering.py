"""A table as Markdown, CSV, LaTeX and JSON, and the texts of its cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from semscale_pl import files
from semscale_pl.tables import tuning
from semscale_pl.tables.aggregate import Difference, Entry, Summary
from semscale_pl.tables.schema import SELECTED, Measure, Variant
from semscale_pl.tables.sentences import (
    ABSENT,
    against_controls,
    against_paper,
    conditions,
    difference_text,
    interval_text,
    judgement,
    p_text,
    verdict,
)

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "<": "$<$", "·": r"$\cdot$"}


CONTROLS_TITLE = "Against their controls"


class PairedRow(TypedDict):
    """A paired difference as plain data; None where there is none."""

    difference_mean: float | None
    difference_low: float | None
    difference_high: float | None
    difference_p_value: float | None
    difference_n: int | None
    p_adjusted: float | None
    difference_level: float | None


class EntryRow(PairedRow):
    """One row, column and measure as ``table.csv`` and ``table.json`` have it; None where undefined."""

    row: str
    column: str
    measure: str
    unit: str
    state: str
    n: int
    mean: float | None
    half_width: float | None
    low: float | None
    high: float | None
    paper_low: float | None
    paper_high: float | None
    ours_minus_paper: float | None
    against_paper: str | None
    published_mean: float | None
    published_half_width: float | None
    published_n: int | None


@dataclass(frozen=True)
class Drawn:
    """One drawn column: the title at its top, what it shows, and the text of an entry."""

    title: str
    column: str
    measure: Measure
    text: Callable[[Entry], str]


def markdown(summary: Summary) -> str:
    """Return the table as Markdown with its conditions below."""
    text = _grid(header(summary), body(summary))
    if compared := controls_body(summary):
        text += ["", f"{CONTROLS_TITLE}:", "", *_grid(controls_header(summary), compared)]
    chosen = ["", "What tuning chose:", "", *_grid(*_choices(summary))] if summary.choices else []
    return "\n".join([f"# {summary.table.title}", "", *text, "", "\n\n".join(conditions(summary)), *chosen, ""])


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
        failures: label of a failed cell to its error.
        absent: label of a cell without its dataset to what to do.
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
        "contrasts": [_compared(one) for one in summary.contrasts],
        **({"primary": [_compared(one) for one in summary.primary]} if summary.primary else {}),
        **({"controls": {row: list(names) for row, names in table.controlled.items()}} if table.controlled else {}),
        "unmatched": list(summary.unmatched),
        **({"tuning": found} if (found := tuning.as_json(table, summary.choices)) else {}),
        "verdict": verdict(summary),
        "failures": dict(failures),
        "absent": dict(absent or {}),
    }


def header(summary: Summary) -> list[str]:
    """Return the titles of the columns, row names first."""
    return ["method", *(drawn.title for drawn in _drawn(summary)), "n"]


def body(summary: Summary) -> list[list[str]]:
    """Return the cells' texts, one list a row: mean ± half width of the interval, then what stands beside it."""
    columns, lines = _drawn(summary), []
    shown = {(drawn.column, drawn.measure) for drawn in columns}
    for row in summary.table.rows:
        entries = {(e.column, e.measure): e for e in summary.entries if e.row == row.name}
        texts = [drawn.text(entries[drawn.column, drawn.measure]) for drawn in columns]
        sizes = sorted({len(entry.values) for key, entry in entries.items() if key in shown})
        lines.append([row.name, *texts, str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"])
    return lines


def controls_header(summary: Summary) -> list[str]:
    """Return the titles of the block of controls."""
    measure = summary.table.focus
    unit = f" ({measure.unit.strip()})" if measure.unit.strip() else ""
    columns = ["column"] if len(summary.table.columns) > 1 else []
    name = f"{measure.name}{unit}"
    return ["method", "control", *columns, name, "control's", "difference", "p", "the method is"]


def controls_body(summary: Summary) -> list[list[str]]:
    """Return a row for each method, column and control: both means, their paired difference and what it says."""
    measure, several = summary.table.focus, len(summary.table.columns) > 1
    lines = []
    for row in summary.table.controlled:
        for column in summary.table.columns:
            for found in against_controls(summary, row, column.name):
                control = found.reference.removeprefix(f"{row}: ")
                means = [_value(summary.entry(name, column.name, measure)) for name in (row, found.reference)]
                said = ABSENT if found.p_adjusted is None else judgement(found, measure)
                numbers = [*means, difference_text(found.paired, measure), p_text(found.p_adjusted), said]
                lines.append([row, control, *([column.name] if several else []), *numbers])
    return lines


def _choices(summary: Summary) -> tuple[list[str], list[list[str]]]:
    return tuning.header(summary.table, summary.choices), tuning.body(summary.choices)


def _grid(titles: list[str], lines: list[list[str]]) -> list[str]:
    rows = [titles, ["---", *["---:"] * (len(titles) - 1)], *lines]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _drawn(summary: Summary) -> list[Drawn]:
    table = summary.table
    return [one for column in table.columns for measure in table.measures for one in _of(summary, column, measure)]


def _of(summary: Summary, column: Variant, measure: Measure) -> list[Drawn]:
    """Return the columns of a measure; the selected epoch's are left out where no cell has a validation part."""
    entries = [e for e in summary.entries if (e.column, e.measure) == (column.name, measure)]
    if measure.key.startswith(SELECTED) and not any(entry.has_value for entry in entries):
        return []
    prefix = f"{column.name}: " if column.name else ""
    unit = f" ({measure.unit.strip()})" if measure.unit.strip() else ""
    found: list[tuple[str, Callable[[Entry], str]]] = [(f"{measure.name}{unit}", _value)]
    if any(entry.published is not None for entry in entries):
        found.append((f"{measure.name}, published", _published))
    if any(entry.paper is not None for entry in entries):
        found += [(f"{measure.name}, paper", _paper), ("ours - paper", _difference_to_paper)]
    if any(entry.paper is not None and entry.paper.is_range for entry in entries):
        found.append(("against the paper", against_paper))
    if measure.paired:
        baseline = summary.table.baseline
        found.append((f"{measure.name} - {baseline}", lambda e: "" if e.row == baseline else _difference(e)))
        found.append(("p", lambda e: "" if e.row == baseline else _p(e)))
    return [Drawn(f"{prefix}{title}", column.name, measure, text) for title, text in found]


def _value(entry: Entry) -> str:
    return entry.state if entry.interval is None and entry.state else interval_text(entry.interval, entry.measure)


def _published(entry: Entry) -> str:
    found = entry.published
    return ABSENT if found is None else f"{interval_text(found, entry.measure)} (n={found.n})"


def _paper(entry: Entry) -> str:
    if entry.paper is None:
        return ABSENT
    ends = [entry.paper.low, entry.paper.high] if entry.paper.is_range else [entry.paper.low]
    return " to ".join(f"{end:.{entry.measure.digits}f}" for end in ends)


def _difference_to_paper(entry: Entry) -> str:
    if entry.paper is None or entry.interval is None:
        return ABSENT
    return f"{entry.paper.difference(entry.interval.mean):+.{entry.measure.digits}f}"


def _difference(entry: Entry) -> str:
    return ABSENT if entry.difference is None else difference_text(entry.difference.paired, entry.measure)


def _p(entry: Entry) -> str:
    return p_text(None if entry.difference is None else entry.difference.p_adjusted)


def _flat(entry: Entry) -> EntryRow:
    interval, paper, published = entry.interval, entry.paper, entry.published
    return {
        "row": entry.row,
        "column": entry.column,
        "measure": entry.measure.name,
        "unit": entry.measure.unit.strip(),
        "state": entry.state,
        "n": len(entry.values),
        "mean": interval.mean if interval else None,
        "half_width": interval.half_width if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "paper_low": paper.low if paper else None,
        "paper_high": paper.high if paper else None,
        "ours_minus_paper": paper.difference(interval.mean) if interval and paper else None,
        "against_paper": paper.judge(interval.mean) if interval and paper and paper.is_range else None,
        "published_mean": published.mean if published else None,
        "published_half_width": published.half_width if published else None,
        "published_n": published.n if published else None,
        **_paired(entry.difference),
    }


def _compared(found: Difference) -> dict[str, Any]:
    names = {"column": found.column, "row": found.row, "reference": found.reference}
    return {**names, **_paired(found)}


def _paired(found: Difference | None) -> PairedRow:
    paired = found.paired if found else None
    return {
        "difference_mean": paired.mean if paired else None,
        "difference_low": paired.low if paired else None,
        "difference_high": paired.high if paired else None,
        "difference_p_value": paired.p_value if paired else None,
        "difference_n": paired.n if paired else None,
        "p_adjusted": found.p_adjusted if found else None,
        "difference_level": found.level if found else None,
    }


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
