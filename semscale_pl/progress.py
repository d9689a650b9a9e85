"""How far a long piece of work is: one line that moves on a terminal, a few plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

SECONDS_BETWEEN_REFRESHES = 0.1
# Each plain line waits half as long again as the one before: a log of a long run stays short.
GROWTH = 1.5

Item = TypeVar("Item")


class Progress(AbstractContextManager["Progress"]):
    """Show on stderr how much is done and how long the rest will take; a context manager, which closes the display.

    On a terminal one line with a bar is kept up to date and goes when the work is done. Elsewhere plain lines are
    written further and further apart.

    Args:
        what: is done, with {} for how much of it, such as "class {}" or "decoded {} images".
        quiet: seconds before the first plain line.
        live: True for the terminal's line, False for plain lines, None to find out.
        keep: leave the terminal's line as it is at the end.
        ticking: let the terminal's clock run also while nothing is reported. It takes a thread, which a process that
            forks should not have.

    Example:
        >>> with Progress("class {}") as progress:
        ...     for done in range(1, 4):
        ...         progress(done, 3)
    """

    def __init__(
        self, what: str, *, quiet: float = 2.0, live: bool | None = None, keep: bool = False, ticking: bool = False
    ) -> None:
        self.live = sys.stderr.isatty() if live is None else live
        self._what, self._keep, self._ticking = what, keep, ticking
        self._started = time.monotonic()
        self._next_line, self._refreshed = quiet, 0.0
        self._bar: Any = None
        self._task: Any = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, done: int, total: int) -> None:
        """Report how many are done, at least 1."""
        if self.live:
            self.move(self._count(done, total), done, total, self._rest(done, total))
        else:
            self.line(self.describe(done, total))

    def over(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass items on, ``total`` of them, and report after each."""
        with self:
            for done, item in enumerate(items, start=1):
                yield item
                self(done, total)

    def describe(self, done: int, total: int) -> str:
        """Return the plain line for a display of one's own."""
        return f"{self._count(done, total)}, {self._rest(done, total)}"

    @property
    def elapsed(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._started

    def left(self, done: float, total: float) -> float:
        """Return the seconds that the rest will take at the mean pace so far; `done` of them since the start."""
        return self.elapsed / done * (total - done)

    def move(self, text: str, done: float, total: float | None, left: str, always: bool = False) -> None:
        """Move the terminal's line, at most ten times a second; does nothing elsewhere.

        Args:
            text: before the bar.
            done, total: of the bar; no total where there is no end.
            left: after the bar.
            always: also where it moved a moment ago.
        """
        now = time.monotonic()
        if not self.live or (not always and now - self._refreshed < SECONDS_BETWEEN_REFRESHES):
            return
        self._refreshed = now
        if self._bar is None:
            self._open()
        self._bar.update(self._task, completed=done, total=total, description=text, left=left, refresh=True)

    def line(self, text: str, always: bool = False) -> None:
        """Write a plain line where it is time for one or ``always``, on a terminal above the moving one."""
        elapsed = self.elapsed
        if not always and (self.live or elapsed < self._next_line):
            return
        self._next_line = max(elapsed * GROWTH, elapsed + 1.0)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the terminal's line; a second call does nothing."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _count(self, done: int, total: int) -> str:
        return self._what.format(f"{done:,} of {total:,}")

    def _rest(self, done: int, total: int) -> str:
        return f"about {duration(self.left(done, total))} left"

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(None), TimeElapsedColumn(), TextColumn("{task.fields[left]}", style="dim"))
        console = Console(stderr=True)
        self._bar = Bar(*columns, console=console, auto_refresh=self._ticking, transient=not self._keep)
        self._bar.start()
        self._task = self._bar.add_task("", total=None, left="")


def duration(seconds: float) -> str:
    """Write a time span in at most two units.

    Example:
        >>> duration(8.4), duration(75), duration(7260)
        ('8 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
