"""Run what a table lacks, show how far it is, and keep the table as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semscale_pl.files import write_json, write_text
from semscale_pl.tables import rendering
from semscale_pl.tables.aggregate import RowColumn, Summary, summarize
from semscale_pl.tables.cache import CellRun, locate
from semscale_pl.tables.jobs import Cluster, check_cluster, run_jobs
from semscale_pl.tables.progress import TableProgress
from semscale_pl.tables.schema import Table
from semscale_pl.tables.sentences import conditions
from semscale_pl.tables.workers import run_cells
from semscale_pl.terminal import console
from semscale_pl.text_table import print_table as print_rows

DATA_ABSENT, FAILED = "data absent", "failed"


@dataclass(frozen=True)
class TableResult:
    """A table after a call that trained some cells.

    Args:
        failures: label to error of the cells that failed in this call.
        absent: label to what to do, of the cells whose dataset is not there.
    """

    summary: Summary
    runs: tuple[CellRun, ...]
    failures: Mapping[str, str]
    num_trained: int
    absent: Mapping[str, str] = field(default_factory=dict)


def run_table(
    table: Table, root: Path, *, jobs: int = 2, overrides: Sequence[str] = (), cluster: Cluster | None = None
) -> TableResult:
    """Run the cells that have no result yet, then compute the table.

    Args:
        jobs: worker processes of one thread each, or jobs of the cluster, at a time.
        overrides: further Hydra overrides of every cell.
        cluster: where cells run as jobs; None for worker processes of this call.

    Returns:
        The table; failed cells are in ``failures`` and are tried again by the next call, as are those in ``absent``.

    Raises:
        ValueError: a cell's config or the cluster's settings are wrong; nothing was run.
        KeyboardInterrupt: finished cells are kept, the workers have ended and the jobs are cancelled.
    """
    if cluster is not None:
        check_cluster(cluster)
    runs = locate(table, table.cells(overrides), root)
    missing = [run for run in runs if run.metrics() is None]
    problems = {DATA_ABSENT: dict[str, str](), FAILED: dict[str, str]()}
    states: dict[RowColumn, str] = {}
    progress = TableProgress(len(runs), len(missing), jobs)
    outcomes = run_cells(table, missing, jobs) if cluster is None else run_jobs(table, missing, cluster, jobs)
    try:
        for outcome in outcomes:
            progress.advance(outcome)
            if outcome.failure is not None:
                state = DATA_ABSENT if outcome.absent else FAILED
                problems[state][outcome.run.cell.label] = outcome.failure.text
                states[outcome.run.cell.row, outcome.run.cell.column] = state
    finally:
        progress.close()
    summary = summarize(table, [(run.cell, run.metrics()) for run in runs], states)
    num_trained = len(missing) - sum(len(labels) for labels in problems.values())
    return TableResult(summary, tuple(runs), problems[FAILED], num_trained, problems[DATA_ABSENT])


def save_table(result: TableResult, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv``, ``table.tex`` and ``table.json``, each whole or not at all."""
    summary = result.summary
    return [
        write_text(folder / "table.md", rendering.markdown(summary)),
        write_text(folder / "table.csv", rendering.csv_text(summary)),
        write_text(folder / "table.tex", rendering.latex(summary)),
        write_json(folder / "table.json", rendering.as_json(summary, result.failures, result.absent)),
    ]


def print_table(result: TableResult) -> None:
    """Print the table, its conditions and the cells that failed."""
    out = console(200)
    print_rows(out, rendering.header(result.summary), rendering.body(result.summary), result.summary.table.title)
    for sentence in conditions(result.summary):
        out.print(sentence, markup=False)
    for text in dict.fromkeys(result.absent.values()):
        first, *others = (label for label, its_text in result.absent.items() if its_text == text)
        more = f" and {len(others)} more cell{'s' if len(others) > 1 else ''}" if others else ""
        out.print(f"DATA ABSENT {first}{more}: {text}", markup=False)
    for label, error in result.failures.items():
        out.print(f"FAILED {label}: {error}", markup=False)
