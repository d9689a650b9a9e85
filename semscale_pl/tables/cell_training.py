"""Train one cell, wherever it runs: in a worker process or as a job of a cluster."""

from __future__ import annotations

import copy
import inspect
import json
import os
import sys
import time
import traceback
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from semscale_pl.config.command_line import quoted
from semscale_pl.config.composing import with_kept_input
from semscale_pl.files import FolderInUseError, claimed
from semscale_pl.tables.cache import METRICS, CellRun, config_folder
from semscale_pl.tables.schema import Cell, Table
from semscale_pl.tables.time_limit import OutOfTime, Pace

LOG = "log.txt"
CHECKPOINT = Path("checkpoints") / "last.ckpt"
# Two threads in each of two processes stall one another on small machines; set before torch is first imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
_LONGEST_TAG = 64  # W&B refuses longer ones
# Where they are, their name and overrides but the seed, to the configs that this process has composed.
_VARIANTS: dict[tuple[str, ...], Any] = {}
_MOST_VARIANTS = 64


@dataclass(frozen=True)
class Task:
    """What a process needs to know of a cell.

    Args:
        stop_at: of ``time.monotonic()``, by when it has to stop; None for no limit.
        assigned: of the same clock, when it was given away.
        pace: how long its parts are expected to take.
    """

    overrides: tuple[str, ...]
    folder: str
    config_dir: str
    config_name: str
    train: str
    stop_at: float | None = None
    assigned: float = 0.0
    pace: Pace | None = None


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result, in one line; ``absent`` where its dataset is not there.

    ``unfinished`` where it stopped in time, and the next call goes on with it.
    """

    text: str
    absent: bool = False
    unfinished: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a cell ended; ``failure`` is None where its metrics are there."""

    run: CellRun
    seconds: float
    failure: Failure | None = None

    @property
    def absent(self) -> bool:
        """Whether the cell's dataset is not there."""
        return self.failure is not None and self.failure.absent

    @property
    def unfinished(self) -> bool:
        """Whether the cell stopped because its time was over."""
        return self.failure is not None and self.failure.unfinished


def task_of(table: Table, run: CellRun, stop_at: float | None = None, pace: Pace | None = None) -> Task:
    """Return what a process needs to train a cell.

    Args:
        stop_at: of ``time.monotonic()``; None for no limit.
        pace: how long the cell's parts are expected to take.
    """
    # First, so that what the user says wins.
    labels = wandb_overrides(table, run.cell) if run.tracked else ()
    overrides = (*labels, *run.cell.overrides)
    place = (str(run.folder), str(config_folder(table)), table.config_name, table.train)
    return Task(overrides, *place, stop_at, time.monotonic(), pace)


def outcome_of(run: CellRun, seconds: float, failure: Failure | None) -> Outcome:
    """Return a cell's outcome; one that reports no failure must have left its record."""
    if failure is None and run.metrics() is None:
        failure = Failure(_without_metrics(run.folder / METRICS))
    return Outcome(run, seconds, failure)


def train_cell(task: Task) -> Failure | None:
    """Compose a cell's config and train it, its output in the run folder's ``log.txt``; return why it has no result.

    What an earlier call left unfinished goes on from its last whole epoch.
    """
    try:
        with claimed(task.folder) as folder, _output_to(folder / LOG):
            return _train(task, folder)
    except FolderInUseError as error:  # by another table or study that wants the same cell
        return Failure(str(error))


def _train(task: Task, folder: Path) -> Failure | None:
    try:
        _call_in_time(task, compose_run(task), folder)
    except OutOfTime as end:
        return Failure(str(end), unfinished=True)
    except KeyboardInterrupt:
        return Failure("interrupted")
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return _failure(error)
    return None


def _call_in_time(task: Task, config: Any, folder: Path) -> None:
    train = call(task.train)
    if task.stop_at is None or "opening" not in inspect.signature(train).parameters:
        train(config, folder)
        return
    from semscale_pl.tables.stopping import StopInTime  # brings Lightning, which the process that waits can spare

    watch = StopInTime(folder, task.stop_at, task.assigned, task.pace or Pace())
    train(config, folder, opening=watch.join)
    watch.finished()


def compose_run(task: Task) -> Any:
    """Compose a cell's config and keep it in the run folder, as Hydra's own start-up would.

    Where the folder has a whole checkpoint, the config names it as the one to resume from: the folder's name stands for
    configuration, code and versions, so it is that of this very cell.
    """
    from omegaconf import OmegaConf

    config = _composed(task)
    folder = Path(task.folder) / ".hydra"
    folder.mkdir(exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create(list(task.overrides)), folder / "overrides.yaml")
    checkpoint = Path(task.folder) / CHECKPOINT
    if "ckpt_path" in config and zipfile.is_zipfile(checkpoint):
        config.ckpt_path = str(checkpoint)
    return config


def _composed(task: Task) -> Any:
    """Compose a cell's config, which takes longer than 20 steps of a head: once for all seeds of a row and column."""
    from hydra import compose, initialize_config_dir

    *variant, last = task.overrides
    name, _, seed = last.partition("=")
    key = (task.config_dir, task.config_name, *variant)
    if name != "seed" or key not in _VARIANTS:
        with initialize_config_dir(version_base="1.3", config_dir=task.config_dir):
            config = with_kept_input(compose(task.config_name, overrides=list(task.overrides)), task.overrides)
        if name != "seed":
            return config
        if len(_VARIANTS) >= _MOST_VARIANTS:
            _VARIANTS.clear()
        _VARIANTS[key] = config
    config = copy.deepcopy(_VARIANTS[key])
    config.seed = int(seed)
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


def wandb_overrides(table: Table, cell: Cell) -> tuple[str, ...]:
    """Return the Hydra overrides that give a cell's W&B run its group, job type, name and tags.

    Example:
        >>> from semscale_pl.tables.schema import Measure, Variant
        >>> table = Table("t", "", (Variant("CE"),), (Variant(""),), (1,), (Measure("a", "a"),), "CE")
        >>> wandb_overrides(table, Cell("CE", "", 1, ()))[-1]
        "logger.wandb.tags=['table:t','row:CE','seed:1']"
    """
    tags = {"table": table.full_name, "row": cell.row, "column": cell.column, "seed": str(cell.seed)}
    listed = ",".join(quoted(f"{name}:{value}"[:_LONGEST_TAG]) for name, value in tags.items() if value)
    return (
        f"logger.wandb.group={quoted(table.full_name)}",
        f"logger.wandb.job_type={quoted(cell.row)}",
        f"logger.wandb.name={quoted(cell.label)}",
        f"logger.wandb.tags=[{listed}]",
    )


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started meanwhile."""
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


def _without_metrics(path: Path) -> str:
    try:
        reasons = json.loads(path.read_text(encoding="utf-8"))["interrupted_by"]
    except (OSError, ValueError, KeyError, TypeError):
        reasons = []
    return (
        f"the run was cut short by {', '.join(reasons)}" if reasons else f"the run ended without a readable {path.name}"
    )


def _failure(error: BaseException) -> Failure:
    # By its name, because the data layer imports torch.
    absent = next((cause for cause in (error, error.__cause__) if type(cause).__name__ == "DatasetNotFound"), None)
    text = " ".join(str(absent or error).split())
    return Failure(text, absent=True) if absent else Failure(f"{type(error).__name__}: {text}")


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
