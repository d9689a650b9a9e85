"""Run what a table lacks, show how far it is, and keep the table as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from semscale_pl.files import write_json, write_text
from semscale_pl.tables import rendering, tuning
from semscale_pl.tables.aggregate import RowColumn, Summary, summarize
from semscale_pl.tables.cache import CellRun, locate
from semscale_pl.tables.jobs import Cluster, check_cluster, run_jobs
from semscale_pl.tables.packing import imported_sentence
from semscale_pl.tables.progress import TableProgress
from semscale_pl.tables.schema import Table, check_tuning
from semscale_pl.tables.sentences import conditions
from semscale_pl.tables.time_limit import TimeLimit, read_pace
from semscale_pl.tables.tuning import Choice, check_overrides, choose, is_settled, keep_divergence, with_choices
from semscale_pl.tables.workers import run_cells
from semscale_pl.terminal import console
from semscale_pl.text_table import print_table as print_rows

DATA_ABSENT, FAILED, UNFINISHED = "data absent", "failed", "unfinished"


@dataclass(frozen=True)
class TableResult:
    """A table after a call that trained some cells.

    Args:
        failures: label to error of the cells that failed in this call.
        absent: label to what to do, of the cells whose dataset is not there.
        unfinished: label to how far it is, of the other cells without a result.
        num_epochs: whole epochs that this call trained, as far as that was measured, which a limit of time makes it be.
        tuning: the tuning runs; until they all are there, the table has no runs of its own.
    """

    summary: Summary
    runs: tuple[CellRun, ...]
    failures: Mapping[str, str]
    num_trained: int
    absent: Mapping[str, str] = field(default_factory=dict)
    unfinished: Mapping[str, str] = field(default_factory=dict)
    num_epochs: int = 0
    tuning: tuple[CellRun, ...] = ()


@dataclass(frozen=True)
class _Ran:
    """What came of runs: label to problem by its kind, the states of rows and columns, how much was trained."""

    problems: Mapping[str, dict[str, str]] = field(
        default_factory=lambda: {DATA_ABSENT: {}, FAILED: {}, UNFINISHED: {}}
    )
    states: Mapping[RowColumn, str] = field(default_factory=dict)
    num_trained: int = 0
    num_epochs: int = 0


def run_table(
    table: Table,
    root: Path,
    *,
    jobs: int = 2,
    overrides: Sequence[str] = (),
    cluster: Cluster | None = None,
    limit: TimeLimit | None = None,
    train: bool = True,
) -> TableResult:
    """Run the cells that have no result yet, then compute the table.

    A table with ``tune`` first runs its tuning runs and chooses each row's setting. All cells of the first seed come
    first, in the order of the table's columns and rows, then those of the second.

    Args:
        jobs: worker processes, of one thread each or side by side on the GPUs, or jobs of the cluster, at a time.
        overrides: further Hydra overrides of every cell.
        cluster: where cells run as jobs; None for worker processes of this call.
        limit: of time, for worker processes: then no cell begins, and those under way stop between two epochs.
        train: False to compute the table from what is there.

    Returns:
        The table; failed cells are in ``failures`` and are tried again by the next call, as are those in ``absent``;
        it goes on with those in ``unfinished``.

    Raises:
        ValueError: a cell's config or the cluster's settings are wrong, or there is no GPU for a cell that asks for
            one; nothing was run.
        KeyboardInterrupt: finished cells are kept, the workers have ended and the jobs are cancelled.
    """
    if cluster is not None:
        check_cluster(cluster)
    check_overrides(table, overrides)
    check_tuning(table)
    run = partial(_run, jobs=jobs, cluster=cluster, limit=limit, train=train)
    trials = [] if table.tune is None else locate(table, table.trials(overrides), root)
    tried = run(table, trials, "tuning runs") if trials else _Ran()
    choices = choose(table, trials)
    if any(choice.chosen is None for choice in choices):
        return _untuned(table, trials, choices, tried)
    table = with_choices(table, choices)
    runs = locate(table, table.cells(overrides), root)
    found = run(table, runs, "cells")
    summary = summarize(table, [(run.cell, run.metrics()) for run in runs], found.states)
    if remark := imported_sentence([*trials, *runs]):
        summary = replace(summary, remarks=(*summary.remarks, remark))
    return TableResult(
        replace(summary, choices=choices),
        tuple(runs),
        found.problems[FAILED],
        tried.num_trained + found.num_trained,
        found.problems[DATA_ABSENT],
        found.problems[UNFINISHED],
        tried.num_epochs + found.num_epochs,
        tuple(trials),
    )


def _run(
    table: Table,
    runs: Sequence[CellRun],
    what: str,
    *,
    jobs: int,
    cluster: Cluster | None,
    limit: TimeLimit | None,
    train: bool,
) -> _Ran:
    """Run those that have no result yet."""
    sharing: dict[Path, list[CellRun]] = {}
    for one in runs:
        sharing.setdefault(one.folder, []).append(one)
    trainings = [cells[0] for cells in sharing.values()]
    missing = [run for run in trainings if not is_settled(run)] if train else []
    problems = {DATA_ABSENT: dict[str, str](), FAILED: dict[str, str](), UNFINISHED: dict[str, str]()}
    states: dict[RowColumn, str] = {}
    before = _epochs(missing)
    progress = TableProgress(len(trainings), len(missing), jobs, what)
    outcomes = (
        run_cells(table, missing, jobs, limit, trainings)
        if cluster is None
        else run_jobs(table, missing, cluster, jobs)
    )
    try:
        for outcome in outcomes:
            progress.advance(outcome)
            if outcome.failure is not None and not keep_divergence(outcome.run, outcome.failure.text):
                state = DATA_ABSENT if outcome.absent else UNFINISHED if outcome.unfinished else FAILED
                for cell in (one.cell for one in sharing[outcome.run.folder]):
                    problems[state][cell.label] = outcome.failure.text
                    states[cell.row, cell.column] = state
    finally:
        progress.close()
    explained = {*problems[DATA_ABSENT], *problems[FAILED]}
    waiting = [run for run in runs if not is_settled(run) and run.cell.label not in explained]
    problems[UNFINISHED] = {run.cell.label: how_far(run) for run in waiting}
    num_trained = sum(run.metrics() is not None for run in missing)
    return _Ran(problems, states, num_trained, _epochs(missing) - before)


def _untuned(table: Table, trials: Sequence[CellRun], choices: Sequence[Choice], tried: _Ran) -> TableResult:
    """Return the table as it stands before all rows have their setting."""
    summary = replace(summarize(table, [], tried.states), choices=tuple(choices))
    explained = {key for problems in tried.problems.values() for key in problems}
    lost = {
        choice.label: "all its settings diverged, so that none can be chosen"
        for choice in choices
        if choice.chosen is None and not any(label.startswith(f"{choice.label} · ") for label in explained)
    }
    failed = {**tried.problems[FAILED], **lost}
    absent, unfinished = tried.problems[DATA_ABSENT], tried.problems[UNFINISHED]
    return TableResult(summary, (), failed, tried.num_trained, absent, unfinished, tried.num_epochs, tuple(trials))


def _epochs(runs: Sequence[CellRun]) -> int:
    return sum(pace.completed for run in runs if (pace := read_pace(run.folder)) is not None)


def how_far(run: CellRun) -> str:
    """Say how many epochs of an unfinished cell are in its checkpoint."""
    pace = read_pace(run.folder)
    return f"after epoch {pace.completed} of {pace.epochs}" if pace is not None and pace.completed else "not begun"


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
    if lines := rendering.controls_body(result.summary):
        titles = rendering.controls_header(result.summary)
        print_rows(out, titles, lines, rendering.CONTROLS_TITLE, (0, 1, len(titles) - 1))
    for sentence in conditions(result.summary):
        out.print(sentence, markup=False)
    if choices := result.summary.choices:
        print_rows(out, tuning.header(result.summary.table, choices), tuning.body(choices), "What tuning chose")
    for text in dict.fromkeys(result.absent.values()):
        first, *others = (label for label, its_text in result.absent.items() if its_text == text)
        more = f" and {len(others)} more cell{'s' if len(others) > 1 else ''}" if others else ""
        out.print(f"DATA ABSENT {first}{more}: {text}", markup=False)
    for label, error in result.failures.items():
        out.print(f"FAILED {label}: {error}", markup=False)
