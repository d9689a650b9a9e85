"""Long-lived worker processes of one thread each: they import once, train cell after cell, and may die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from semscale_pl.tables.cache import METRICS, CellRun, config_folder
from semscale_pl.tables.cells import Table

LOG = "log.txt"
# Two threads in each of two processes stall one another on small machines; set before torch is first imported.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Task:
    """What a worker needs to know of a cell."""

    overrides: tuple[str, ...]
    folder: str
    config_dir: str
    config_name: str
    train: str


@dataclass(frozen=True)
class Outcome:
    """How a cell ended; ``error`` is None where its metrics are there."""

    run: CellRun
    seconds: float
    error: str | None = None


class Worker:
    """One process and the cell it is at.

    Args:
        number: for the process's name.
    """

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # Not a daemon: daemons may have no children, and a cell's loader may want some.
        self.process = context.Process(target=serve, args=(theirs,), name=f"cell-worker-{number}", daemon=False)
        with _environment(_ONE_THREAD):
            self.process.start()
        theirs.close()
        self.run: CellRun | None = None
        self.started = 0.0

    def assign(self, run: CellRun, task: Task) -> None:
        """Start a cell; a worker that has died in the meantime is noticed by its sentinel."""
        self.run, self.started = run, time.monotonic()
        try:
            self.connection.send(task)
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
        return None if self.process.is_alive() else self._outcome(_epitaph(self.process.exitcode))

    def stop(self) -> None:
        """End the process at once; a cell under way is lost, finished ones lie on the disk."""
        self.process.kill()
        self.process.join(10)
        self.connection.close()

    def _outcome(self, error: str | None) -> Outcome:
        run, self.run = self.run, None
        if run is None:
            raise RuntimeError("Expected an outcome only while a cell runs, but the worker was idle.")
        if error is None and run.metrics() is None:
            error = f"the run ended without a readable {METRICS}"
        return Outcome(run, time.monotonic() - self.started, error)


def run_cells(table: Table, runs: Sequence[CellRun], jobs: int = 2) -> Iterator[Outcome]:
    """Run cells in worker processes and yield each outcome as it comes.

    A cell that raises, or whose process is killed, is an outcome with an error; the others go on in a fresh process.
    Closing the iterator, or any exception in the consumer such as KeyboardInterrupt, ends the processes.

    Args:
        table: the cells' table.
        runs: what to run.
        jobs: number of processes, at least 1.

    Yields:
        One outcome for each of ``runs``.
    """
    pending = deque(runs)
    workers: list[Worker] = []
    try:
        for number in range(min(jobs, len(pending))):
            workers.append(Worker(number))
            _next(workers[-1], pending, table)
        while busy := [worker for worker in workers if worker.run is not None]:
            wait([source for worker in busy for source in (worker.connection, worker.process.sentinel)])
            for worker in busy:
                if (outcome := worker.collect()) is not None:
                    if pending and not worker.process.is_alive():
                        worker.stop()
                        workers[workers.index(worker)] = worker = Worker(len(workers))
                    _next(worker, pending, table)
                    yield outcome
    finally:
        for worker in workers:
            worker.stop()


def serve(connection: Connection) -> None:
    """Train the cells that come over the connection until it closes. The entry point of a worker process.

    Args:
        connection: receives :class:`Task`, sends an error text or None.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    _end_with_parent()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(train_cell(task))


def train_cell(task: Task) -> str | None:
    """Compose a cell's config and train it, with everything it prints in the run folder's ``log.txt``.

    Args:
        task: what to train.

    Returns:
        None, or the error in one line.
    """
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _output_to(folder / LOG):
        try:
            call(task.train)(compose_run(task), folder)
        except KeyboardInterrupt:
            return "interrupted"
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def compose_run(task: Task) -> Any:
    """Compose a cell's config and keep it in the run folder, as Hydra's own start-up would."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(version_base="1.3", config_dir=task.config_dir):
        config = compose(task.config_name, overrides=list(task.overrides))
    folder = Path(task.folder) / ".hydra"
    folder.mkdir(exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create(list(task.overrides)), folder / "overrides.yaml")
    return config


def call(path: str) -> Any:
    """Import ``module:function``.

    Raises:
        ValueError: the path has no colon.

    Example:
        >>> call("math:sqrt")(4.0)
        2.0
    """
    module, colon, name = path.partition(":")
    if not colon:
        raise ValueError(f"Expected `train` to be 'module:function', but got {path!r}.")
    return getattr(import_module(module), name)


def _next(worker: Worker, pending: deque[CellRun], table: Table) -> None:
    if pending:
        run = pending.popleft()
        folder = str(config_folder(table))
        worker.assign(run, Task(run.cell.overrides, str(run.folder), folder, table.config_name, table.train))


def _epitaph(code: int | None) -> str:
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


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send the process's own output and that of its libraries and children to a file."""
    with path.open("w", encoding="utf-8") as file:
        saved = os.dup(1), os.dup(2)
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
