"""How far a table is, on the terminal or line by line, with an estimate of what is left."""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import Any

from semscale_pl.tables.cell_training import LOG, Outcome


class Progress:
    """A line that moves on a terminal, one line a cell elsewhere; errors are always printed.

    Args:
        total: cells of the table.
        missing: cells to run.
        jobs: how many run at a time.
    """

    def __init__(self, total: int, missing: int, jobs: int) -> None:
        self.missing, self.jobs, self.done = missing, jobs, 0
        # The first cells also import everything, so the estimate comes from the latest.
        self._latest: deque[float] = deque(maxlen=8)
        self._told: set[str] = set()
        self._bar: Any = None
        self._task: Any = None
        if missing == 0:
            return
        sys.stderr.write(f"{total} cells, {total - missing} of them already there, {missing} to run\n")
        if sys.stderr.isatty():
            self._open()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("starting", total=self.missing)

    def advance(self, outcome: Outcome) -> None:
        """Count a cell."""
        self.done += 1
        if not outcome.absent:
            self._latest.append(outcome.seconds)
        line = f"{outcome.run.cell.label}: {self._ending(outcome)}"
        if self._bar is None:
            sys.stderr.write(f"[{self.done}/{self.missing}] {line}; {self._left()}\n")
            return
        if outcome.failure is not None:
            self._bar.console.print(line, markup=False)
        self._bar.update(self._task, advance=1, description=self._left())

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.stop()

    def _ending(self, outcome: Outcome) -> str:
        if outcome.failure is None:
            return f"{outcome.seconds:.1f} s"
        text = outcome.failure.text
        if not outcome.absent:
            return f"FAILED: {text} (see {outcome.run.folder / LOG})"
        again = text in self._told
        self._told.add(text)
        return "data absent" if again else f"data absent: {text}"

    def _left(self) -> str:
        remaining = self.missing - self.done
        if remaining and not self._latest:
            return "no estimate yet"
        mean = sum(self._latest) / len(self._latest) if self._latest else 0.0
        return f"about {duration(mean * math.ceil(remaining / self.jobs))} left"


def duration(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> duration(75), duration(7260)
        ('1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
