"""A table as Markdown, CSV, LaTeX, JSON and in the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semscale_pl.tables.aggregate import Difference, Entry, Summary
from semscale_pl.tables.verdict import interval_text, p_text, verdict

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ABSENT = "n/a"
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "<": "$<$", "·": r"$\cdot$"}


def header(summary: Summary) -> list[str]:
    """Return the titles of the columns, row names first."""
    titles = ["method"]
    for column in summary.table.columns:
        prefix = f"{column.name}: " if column.name else ""
        for measure in summary.table.measures:
            unit = f" ({measure.unit.strip()})" if measure.unit.strip() else ""
            titles.append(f"{prefix}{measure.name}{unit}")
            if _has_paper(summary, column.name, measure.name):
                titles += [f"{prefix}{measure.name}, paper", f"{prefix}ours - paper"]
            if measure.paired:
                titles += [f"{prefix}{measure.name} - {summary.table.baseline}", f"{prefix}p"]
    return [*titles, "n"]


def body(summary: Summary) -> list[list[str]]:
    """Return the cells' texts, one list a row: mean ± half width of the interval, then what is paired."""
    lines = []
    for row in summary.table.rows:
        entries = [entry for entry in summary.entries if entry.row == row.name]
        line = [row.name]
        for column in summary.table.columns:
            for measure in summary.table.measures:
                line += _texts(summary, next(e for e in entries if (e.column, e.measure) == (column.name, measure)))
        sizes = sorted({len(entry.values) for entry in entries})
        lines.append([*line, str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"])
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
    settings = f"Settings of all cells: `{' '.join(table.base)}`." if table.base else ""
    return [text for text in (how, settings, *verdict(summary), table.note) if text]


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = [_flat(entry) for entry in summary.entries]
    writer.writerow(records[0])
    writer.writerows(list(record.values()) for record in records)
    return text.getvalue()


def as_json(summary: Summary, failures: Mapping[str, str]) -> dict[str, Any]:
    """Return the statistics and the values by seed as plain data.

    Args:
        summary: of the table.
        failures: label of a failed cell to its error.

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


def _texts(summary: Summary, entry: Entry) -> list[str]:
    texts = [_interval(entry)]
    if _has_paper(summary, entry.column, entry.measure.name):
        digits = entry.measure.digits
        known = entry.paper is not None
        texts.append(f"{entry.paper:.{digits}f}" if known else ABSENT)
        both = known and entry.interval is not None
        texts.append(f"{entry.interval.mean - entry.paper:+.{digits}f}" if both else ABSENT)  # type: ignore[union-attr,operator]
    if entry.measure.paired:
        found = entry.difference
        baseline = entry.row == summary.table.baseline
        texts += ["", ""] if baseline else [_difference(found, entry), p_text(found.p_holm if found else None)]
    return texts


def _interval(entry: Entry) -> str:
    if entry.interval is None:
        return ABSENT
    digits, (mean, half_width) = entry.measure.digits, entry.interval[:2]
    return f"{mean:.{digits}f}" if half_width is None else f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def _difference(found: Difference | None, entry: Entry) -> str:
    return ABSENT if found is None else interval_text(found.paired, entry.measure)


def _has_paper(summary: Summary, column: str, measure: str) -> bool:
    return any(e.paper is not None for e in summary.entries if (e.column, e.measure.name) == (column, measure))


def _flat(entry: Entry) -> dict[str, Any]:
    interval = entry.interval
    return {
        "row": entry.row,
        "column": entry.column,
        "measure": entry.measure.name,
        "unit": entry.measure.unit.strip(),
        "n": len(entry.values),
        "mean": interval.mean if interval else None,
        "half_width": interval.half_width if interval else None,
        "paper": entry.paper,
        **_paired(entry.difference),
    }


def _paired(found: Difference | None) -> dict[str, Any]:
    names: Sequence[str] = ("mean", "low", "high", "p_value", "n")
    values = {f"difference_{name}": getattr(found.paired, name) if found else None for name in names}
    return {**values, "p_holm": found.p_holm if found else None}


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
