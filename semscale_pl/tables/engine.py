"""Run what a table lacks, show how far it is, and keep the table as files."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale_pl.cli.strict_json import write_json, write_text
from semscale_pl.tables import rendering
from semscale_pl.tables.aggregate import Summary, summarize
from semscale_pl.tables.cache import CellRun, locate
from semscale_pl.tables.cells import Table
from semscale_pl.tables.workers import LOG, Outcome, run_cells


@dataclass(frozen=True)
class TableResult:
    """A table after a call: its statistics, its cells and the errors of those that failed in this call."""

    summary: Summary
    runs: tuple[CellRun, ...]
    failures: Mapping[str, str]
    num_trained: int


def run_table(table: Table, root: Path, *, jobs: int = 2, overrides: Sequence[str] = ()) -> TableResult:
    """Run the cells that have no result yet, then compute the table.

    Args:
        table: what to run.
        root: folder of all tables' runs.
        jobs: worker processes of one thread each.
        overrides: further Hydra overrides of every cell.

    Returns:
        The table; failed cells are in ``failures`` and are tried again by the next call.

    Raises:
        ValueError: a cell's config is wrong; nothing was run.
        KeyboardInterrupt: finished cells are kept, the workers have ended.
    """
    runs = locate(table, table.cells(overrides), root)
    missing = [run for run in runs if run.metrics() is None]
    failures: dict[str, str] = {}
    progress = Progress(len(runs), len(missing), jobs)
    try:
        for outcome in run_cells(table, missing, jobs):
            progress.advance(outcome)
            if outcome.error is not None:
                failures[outcome.run.cell.label] = outcome.error
    finally:
        progress.close()
    summary = summarize(table, [(run.cell, run.metrics()) for run in runs])
    return TableResult(summary, tuple(runs), failures, len(missing) - len(failures))


def save_table(result: TableResult, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv``, ``table.tex`` and ``table.json``, each whole or not at all.

    Args:
        result: of :func:`run_table`.
        folder: where to.

    Returns:
        The files.
    """
    texts = {
        "table.md": rendering.markdown(result.summary),
        "table.csv": rendering.csv_text(result.summary),
        "table.tex": rendering.latex(result.summary),
    }
    files = [write_text(folder / name, text) for name, text in texts.items()]
    return [*files, write_json(folder / "table.json", rendering.as_json(result.summary, result.failures))]


def print_table(result: TableResult) -> None:
    """Print the table, its conditions and the cells that failed."""
    from rich.console import Console

    # A pipe has no width; cutting numbers there would be worse than a long line.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(rendering.terminal(result.summary))
    for sentence in rendering.conditions(result.summary):
        console.print(sentence, markup=False)
    for label, error in result.failures.items():
        console.print(f"FAILED {label}: {error}", markup=False)


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
        self._latest.append(outcome.seconds)
        left = sum(self._latest) / len(self._latest) * (self.missing - self.done) / self.jobs
        ending = f"{outcome.seconds:.1f} s" if outcome.error is None else f"FAILED: {outcome.error}"
        line = f"{outcome.run.cell.label}: {ending}"
        if outcome.error is not None:
            line += f" (see {outcome.run.folder / LOG})"
        if self._bar is None:
            sys.stderr.write(f"[{self.done}/{self.missing}] {line}; about {_duration(left)} left\n")
            return
        if outcome.error is not None:
            self._bar.console.print(line, markup=False)
        self._bar.update(self._task, advance=1, description=f"about {_duration(left)} left")

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.stop()


def _duration(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> _duration(75), _duration(7260)
        ('1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
