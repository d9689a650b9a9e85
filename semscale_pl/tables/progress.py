"""How far a table is: a line that moves on a terminal, one line a cell elsewhere, with an estimate of what is left."""

from __future__ import annotations

import math
import sys
from collections import deque

from semscale_pl.progress import Progress, duration
from semscale_pl.tables.cell_training import LOG, Outcome
from semscale_pl.tables.time_limit import Pace, read_pace


class TableProgress:
    """Report each of the missing cells that is done, so many jobs at a time; a terminal shows failures, too."""

    def __init__(self, total: int, missing: int, jobs: int, what: str = "cells") -> None:
        self.missing, self.jobs, self.done = missing, jobs, 0
        # The first cells also import everything, so the estimate comes from the latest.
        self._latest: deque[float] = deque(maxlen=8)
        self._reported: set[str] = set()
        self._paces: list[Pace] = []  # of the cells that stopped in time
        self._display = Progress("cell {}", keep=True, ticking=True)
        if missing:
            sys.stderr.write(f"{total} {what}, {total - missing} of them already there, {missing} to run\n")
            self._display.move(f"0/{missing}", 0, missing, "starting")

    def advance(self, outcome: Outcome) -> None:
        """Count a cell."""
        self.done += 1
        if not outcome.absent and not outcome.unfinished:
            self._latest.append(outcome.seconds)
        if outcome.unfinished and (pace := read_pace(outcome.run.folder)) is not None:
            self._paces.append(pace)
        line, left = f"{outcome.run.cell.label}: {self._ending(outcome)}", self._left()
        if not self._display.live:
            self._display.line(f"[{self.done}/{self.missing}] {line}; {left}", always=True)
            return
        if outcome.failure is not None:
            self._display.line(line, always=True)
        self._display.move(f"{self.done}/{self.missing}", self.done, self.missing, left, always=True)

    def close(self) -> None:
        """End the line."""
        self._display.close()

    def _ending(self, outcome: Outcome) -> str:
        if outcome.failure is None:
            return f"{outcome.seconds:.1f} s"
        text = outcome.failure.text
        if outcome.unfinished:
            return text
        if not outcome.absent:
            return f"FAILED: {text} (see {outcome.run.folder / LOG})"
        again = text in self._reported
        self._reported.add(text)
        return "data absent" if again else f"data absent: {text}"

    def _left(self) -> str:
        remaining = self.missing - self.done
        # Cells that stopped say how long a whole one takes, also before any has come to its end.
        seconds = list(self._latest) or [pace.epochs * pace.epoch + pace.end for pace in self._paces]
        if remaining and not any(seconds):
            return "no estimate yet"
        mean = sum(seconds) / len(seconds) if seconds else 0.0
        rest = sum(pace.seconds_left for pace in self._paces) / self.jobs
        return f"about {duration(mean * math.ceil(remaining / self.jobs) + rest)} left"
