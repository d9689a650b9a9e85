"""A table as Markdown, CSV, LaTeX, JSON and in the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semscale_pl.tables.aggregate import Difference, Entry, Summary
from semscale_pl.tables.fields import epoch_sentence, fields_of, paper_sentence
from semscale_pl.tables.verdict import verdict

if TYPE_CHECKING:
    from rich.table import Table as RichTable

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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = [_flat(entry) for entry in summary.entries]
    writer.writerow(records[0])
    writer.writerows(list(record.values()) for record in records)
    return text.getvalue()


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
