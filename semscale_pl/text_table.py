"""Tables on a terminal of any width: no name is cut and no number broken; where they do not fit, rows are stacked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from semscale_pl.terminal import cell, printable

# Of a stacked row's lines.
_INDENT = "  "
# Where a line may end: after a space or a hyphen in words; in a value before its interval or, where that is still too
# wide, within an interval too.
_IN_WORDS = re.compile(r"(?<=[ -])")
_IN_VALUES = (re.compile(r"(?<= )(?=\[|± |to )"), re.compile(r"(?<= )(?=\[|± |to )|(?<=, )"))


def print_table(
    out: Any, head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", texts: Collection[int] = (0,)
) -> None:
    """Print a table in which names and headings may be wrapped between words, and values before their intervals.

    Where even that is too wide, each row is printed under its name, a line for each column that is not empty.

    Args:
        out: rich's console; letters that are two columns wide count as two.
        head: titles of the columns.
        rows: texts, as long as the head.
        texts: columns whose cells are words; the others hold values and stand to the right.
    """
    rows = [[printable(text) for text in row] for row in rows]
    for in_values in _IN_VALUES:
        gaps = [_IN_WORDS if place in texts else in_values for place in range(len(head))]
        widths = _widths(head, rows, gaps, out.width)
        if widths is not None:
            break
    if widths is None:
        _print_stacked(out, head, rows, title, gaps)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=cell(title) if title else None)
    for place, (text, width) in enumerate(zip(head, widths, strict=True)):
        wrapped = Text("\n".join(_wrapped(text, width, _IN_WORDS)))
        table.add_column(wrapped, justify="left" if place in texts else "right", width=width)
    for row in rows:
        table.add_row(*(Text("\n".join(_wrapped(*entry))) for entry in zip(row, widths, gaps, strict=True)))
    out.print(table)


def _widths(
    head: Sequence[str], rows: Sequence[Sequence[str]], gaps: Sequence[re.Pattern[str]], width: int
) -> list[int] | None:
    """Return the width of each column without its frame; None where the narrowest possible ones are too wide.

    What is left over goes to the names, then to the values and last to the headings, so that they stand in one line.
    """
    columns = [[row[place] for row in rows] for place in range(len(head))]
    found = [
        max([_longest_part(title, _IN_WORDS), *(_longest_part(text, gap) for text in column)])
        for title, column, gap in zip(head, columns, gaps, strict=True)
    ]
    spare = width - (3 * len(head) + 1) - sum(found)
    if spare < 0:
        return None
    whole = [max(map(_length, column), default=0) for column in columns]
    values = [(place, whole[place]) for place, gap in enumerate(gaps) if gap is not _IN_WORDS]
    names = [(place, whole[place]) for place, gap in enumerate(gaps) if gap is _IN_WORDS]
    for place, wanted in (*names, *values, *enumerate(map(_length, head))):
        more = min(spare, max(0, wanted - found[place]))
        if (place, wanted) in values and found[place] + more < wanted:
            continue
        found[place] += more
        spare -= more
    return found


def _print_stacked(
    out: Any, head: Sequence[str], rows: Sequence[Sequence[str]], title: str, gaps: Sequence[re.Pattern[str]]
) -> None:
    lines = [*_folded(title, out.width), ""] if title else []
    for name, *values in rows:
        lines += _folded(name, out.width)
        for heading, value, gap in zip(head[1:], values, gaps[1:], strict=True):
            lines += _entry(heading, value, out.width, gap) if value else []
    for line in lines:
        out.print(cell(line), soft_wrap=True)


def _entry(heading: str, value: str, width: int, gap: re.Pattern[str]) -> Iterator[str]:
    """Yield a heading with its value behind it or, where that is too long, under it."""
    together = f"{_INDENT}{heading}: {value}"
    if _length(together) <= width:
        yield together
        return
    yield from (f"{_INDENT}{line}" for line in _folded(f"{heading}:", width - len(_INDENT)))
    lines = _wrapped(value, width - 2 * len(_INDENT), gap)
    if gap is _IN_WORDS:
        lines = _folded(value, width - 2 * len(_INDENT))
    yield from (f"{2 * _INDENT}{line}" for line in lines)


def _folded(text: str, width: int) -> Iterator[str]:
    """Yield the lines of words; a word that is longer than a line is broken between letters."""
    for line in _wrapped(text, width, _IN_WORDS):
        while _length(line) > width > 1:
            taken = next(size for size in range(len(line), 0, -1) if _length(line[:size]) <= width)
            yield line[:taken]
            line = line[taken:]
        yield line


def _wrapped(text: str, width: int, gap: re.Pattern[str]) -> Iterator[str]:
    """Yield a text's lines, broken at gaps alone; what has none stays in one piece."""
    line = ""
    for part in gap.split(text):
        if line and _length((line + part).rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += part
    yield line.rstrip()


def _longest_part(text: str, gap: re.Pattern[str]) -> int:
    return max(_length(part.rstrip()) for part in gap.split(text))


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
