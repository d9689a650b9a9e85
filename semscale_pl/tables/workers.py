"""Long-lived worker processes: they import once, train cell after cell until the time is over, and may die."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.cards import Seat, seats_for, take_share
from semscale_pl.tables.cell_training import Failure, Outcome, environment, outcome_of, task_of, train_cell
from semscale_pl.tables.schema import Table
from semscale_pl.tables.time_limit import Pace, TimeLimit, expected_pace


class Worker:
    """One process and the cell it is at."""

    def __init__(self, number: int, seat: Seat) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # Not a daemon: daemons may have no children, and a cell's loader may want some.
        self.process = context.Process(
            target=serve, args=(theirs, seat.sharers), name=f"cell-worker-{number}", daemon=False
        )
        with environment(seat.environment):
            self.process.start()
        theirs.close()
        self.seat = seat
        self.run: CellRun | None = None
        self.started = 0.0

    def assign(self, table: Table, run: CellRun, stop_at: float | None = None, pace: Pace | None = None) -> None:
        """Start a cell; a worker that has died in the meantime is noticed by its sentinel."""
        self.run, self.started = run, time.monotonic()
        try:
            self.connection.send(task_of(table, run, stop_at, pace))
        except OSError:
            self.process.join(5)

    def collect(self) -> Outcome | None:
        """Return the outcome of the present cell, or None while it runs."""
        if self.run is None:
            return None
        try:
            if self.connection.poll():
                return self._outcome(self.connection.recv())
        except (EOFError, OSError):
            self.process.join(5)
        return None if self.process.is_alive() else self._outcome(Failure(_how_it_ended(self.process.exitcode)))

    def stop(self) -> None:
        """End the process at once; a cell under way is lost, finished ones lie on the disk."""
        self.process.kill()
        self.process.join(10)
        self.connection.close()

    def _outcome(self, failure: Failure | None) -> Outcome:
        run, self.run = self.run, None
        if run is None:
            raise RuntimeError("Expected an outcome only while a cell runs, but the worker was idle.")
        return outcome_of(run, time.monotonic() - self.started, failure)


def run_cells(
    table: Table,
    runs: Sequence[CellRun],
    jobs: int = 2,
    limit: TimeLimit | None = None,
    measured: Sequence[CellRun] = (),
) -> Iterator[Outcome]:
    """Run cells in worker processes and yield each outcome as it comes.

    Cells that ask for a GPU share the cards there are, with their memory; the others get one thread each.

    A cell that raises, or whose process is killed, is an outcome with a failure; the others go on in a fresh process.
    Where a dataset is absent, the waiting cells with the same dataset are not tried.
    Closing the iterator, or any exception in the consumer such as KeyboardInterrupt, ends the processes.

    Args:
        limit: of time, after which no cell begins and those under way stop between two epochs: these are outcomes with
            a failure that says so, the others none at all.
        measured: all cells of the table, also finished ones, from whose pace that of others is guessed.

    Raises:
        ValueError: a cell asks for a GPU, and there is none.
    """
    pending = deque(runs)
    seats = seats_for(runs, min(jobs, len(pending))) if pending else []

    def assign_next(worker: Worker) -> None:
        if not pending:
            return
        pace = expected_pace(pending[0], measured or runs) if limit is not None else Pace()
        # The first cells of a call always begin: however short the limit is, and however long a process takes to start,
        # each call comes as far as it can.
        is_first = len(runs) - len(pending) < len(seats)
        if limit is None or is_first or limit.allows(pace):
            worker.assign(table, pending.popleft(), limit.stop_at if limit is not None else None, pace)

    workers: list[Worker] = []
    try:
        for number, seat in enumerate(seats):
            workers.append(Worker(number, seat))
            assign_next(workers[-1])
        while busy := [worker for worker in workers if worker.run is not None]:
            wait([source for worker in busy for source in (worker.connection, worker.process.sentinel)])
            for worker in busy:
                if (outcome := worker.collect()) is not None:
                    untried = without_data(outcome, pending)
                    if pending and not worker.process.is_alive():
                        worker.stop()
                        workers[workers.index(worker)] = worker = Worker(len(workers), worker.seat)
                    assign_next(worker)
                    yield outcome
                    yield from untried
    finally:
        for worker in workers:
            worker.stop()


def without_data(outcome: Outcome, pending: deque[CellRun]) -> list[Outcome]:
    """Take out of the queue what needs the dataset that the outcome found absent, and return the outcomes of that."""
    if not outcome.absent:
        return []
    untried = [run for run in pending if run.dataset and run.dataset == outcome.run.dataset]
    for run in untried:
        pending.remove(run)
    return [Outcome(run, 0.0, outcome.failure) for run in untried]


def serve(connection: Connection, sharers: int = 0) -> None:
    """Train the cells that come over the connection until it closes. The entry point of a worker process.

    Args:
        sharers: processes on this one's card.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    _end_with_parent()
    take_share(sharers)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        failure = train_cell(task)
        # Trainer and data refer to one another, and their few objects would not soon start a collection of many bytes.
        gc.collect()
        connection.send(failure)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _end_with_parent() -> None:
    """Let no worker outlive a parent that was killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
