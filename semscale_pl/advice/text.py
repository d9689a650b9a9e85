"""Advice as a table in the terminal and as CSV."""

from __future__ import annotations

import math

from semscale_pl.advice.advice import Advice, ClassAdvice
from semscale_pl.files import csv_text
from semscale_pl.terminal import console
from semscale_pl.text_table import print_table

SHOWN_CLASSES = 60
HEAD = ("class", "n", "S'", "last batch", "next batch", "advice", "enough at", "new")


def print_advice(advice: Advice) -> None:
    """Print a table, the classes that gain most first, and what it says in a sentence or two."""
    out = console()
    ranked = ranking(advice)
    print_table(out, HEAD, [_cells(entry) for entry in ranked[:SHOWN_CLASSES]])
    if len(ranked) > SHOWN_CLASSES:
        out.print(f"and {len(ranked) - SHOWN_CLASSES:,} more, see the CSV", markup=False)
    for sentence in sentences(advice):
        out.print(sentence, markup=False)


def ranking(advice: Advice) -> list[ClassAdvice]:
    """Return the classes, those first that are too small to judge, then those whose next batch is worth most."""
    return sorted(advice.classes, key=lambda entry: (not math.isnan(entry.next_gain), -entry.next_gain, entry.count))


def sentences(advice: Advice) -> list[str]:
    """Return in a sentence each what the table says."""
    stopped = sum(entry.stop for entry in advice.classes)
    unsure = sum(not entry.certain and not math.isnan(entry.increment) for entry in advice.classes)
    result = [
        f"A last batch of {advice.batch} has added less than {100 * advice.threshold:g} % of S' to {stopped} of "
        f"{len(advice.classes)} classes: stop there."
    ]
    if unsure:
        result.append(f"? marks {unsure} whose interval over random orders holds the threshold.")
    small = sum(math.isnan(entry.increment) for entry in advice.classes)
    if small:
        result.append(f"Too few samples for the rule (fewer than two before the last batch, or equal ones): {small}.")
    if advice.budget:
        allocated, left = advice.budget - advice.unspent, "none is left."
        if advice.unspent:
            left = f"{advice.unspent:,} stay unspent: no whole batch is worth it."
        result.append(f"Of {advice.budget:,} new samples {allocated:,} are allocated as in the column `new`; {left}")
    return result


def csv_of(advice: Advice) -> str:
    """Return one line a class, in the order of the class numbers; what is undefined is empty."""
    rows = [entry.as_dict() for entry in advice.classes]
    return csv_text([list(rows[0]), *(list(row.values()) for row in rows)])


def _cells(entry: ClassAdvice) -> list[str]:
    interval = f"{_per_cent(entry.increment)} [{_per_cent(entry.low)}, {_per_cent(entry.high)}]"
    advice = ("stop" if entry.stop else "continue") + ("" if entry.certain or math.isnan(entry.increment) else " ?")
    return [
        entry.name,
        f"{entry.count:,}",
        f"{entry.scale:.2f}",
        interval if not math.isnan(entry.increment) else "n/a",
        _per_cent(entry.next_gain),
        advice,
        f"{entry.enough:,}" if entry.enough is not None else "n/a",
        f"{entry.allocation:,}" if entry.allocation else "",
    ]


def _per_cent(value: float) -> str:
    """Return a share in per cent.

    Example:
        >>> _per_cent(0.0312), _per_cent(float("nan"))
        ('3.12 %', 'n/a')
    """
    return "n/a" if math.isnan(value) else f"{100 * value:.2f} %"
