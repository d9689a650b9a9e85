"""A sweep: its jobs all run whatever becomes of one of them, and a table says at the end how each one ended."""

from __future__ import annotations

import functools
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from semscale_pl.config.command_line import setting, shown, to_type
from semscale_pl.config.errors import complain, message_of
from semscale_pl.config.stopping import Ended, as_ended
from semscale_pl.files import FolderInUseError, claimed, write_json
from semscale_pl.training.run_folder import LAST, holds_same_run, objective_in, resuming

# In the folder of the sweep: how each job ended. Jobs may run in processes of their own, which share nothing else.
JOBS = ".jobs"
# Names that file to the process which runs the job for the sweep.
JOB_FILE = "SEMSCALE_JOB"
RUNNING, DONE, KEPT, FAILED, REFUSED = "running", "done", "kept", "failed", "refused"
_REFUSED_CODE = 2


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Args:
        number: its place in the sweep.
        overrides: what was typed for it, without Hydra's own.
        folder: of its run.
        status: ``running``, ``done``, ``kept`` (a run of this very configuration was there), ``failed`` or ``refused``.
        why: it has no result, in one line.
    """

    number: int
    overrides: tuple[str, ...]
    folder: str
    status: str = RUNNING
    why: str = ""


class JobFailedError(RuntimeError):
    """A job of a sweep has no result; the message says why. Sweepers that need a value of each job learn of it so."""


class SweepFolder(Callback):
    """Hydra's word that a sweep begins: its folder is held, and what an earlier one noted there goes."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hold the folder; a second sweep in it is refused by exit code 2."""
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        if _sweep.is_open:
            try:
                _sweep.begin(folder)
            except FolderInUseError as error:
                raise SystemExit(complain(str(error))) from error


@contextmanager
def sweeping(command: str, arguments: Sequence[str], finish: Callable[[list[Job], Path], None]) -> Iterator[None]:
    """Run a sweep in the block, and have its jobs summed up whatever becomes of them.

    Args:
        arguments: as typed after the command.
        finish: takes the jobs and the folder of the sweep.

    Raises:
        SystemExit: with 1 where a job has no result.
        Ended: a signal ended the sweep; the line says how to go on.
    """
    with _sweep.open():
        try:
            yield
        except JobFailedError:
            pass  # a sweeper gave up; the job is in the table
        except BaseException as error:
            ended = as_ended(error)
            if ended is not None and _sweep.folder is not None:
                line = _way_on(command, arguments, jobs_in(_sweep.folder), _sweep.folder)
                raise Ended(ended.number, f"{ended.what}. {line}") from error
            raise
        if _sweep.folder is None:
            return
        jobs = jobs_in(_sweep.folder)
        finish(jobs, _sweep.folder)
        shutil.rmtree(_sweep.folder / JOBS, ignore_errors=True)
        if any(job.status not in (DONE, KEPT) for job in jobs):
            raise SystemExit(1)


def as_job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Let a Hydra task note how it ended, and let the other jobs of its sweep run where it did not end well."""

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        handed = os.environ.pop(JOB_FILE, None)
        if handed is not None:
            return _for_the_sweep(task, cfg, Path(handed))
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            return task(cfg)
        config = HydraConfig.get()
        file = Path(str(config.sweep.dir)).absolute() / JOBS / f"{config.job.num}.json"
        begun = Job(int(config.job.num), tuple(config.overrides.task), config.runtime.output_dir)
        write_json(file, asdict(begun))
        if not cfg.get("overwrite", True) and holds_same_run(cfg, Path(begun.folder)):
            write_json(file, asdict(replace(begun, status=KEPT)))
            return objective_in(Path(begun.folder))
        os.environ[JOB_FILE] = str(file)
        try:
            return _noted(task, cfg, file)
        except (Exception, SystemExit):
            if str(config.sweeper["_target_"]).endswith(".BasicSweeper"):
                return None  # which would stop at an exception
            raise JobFailedError(_read(file).why) from None
        finally:
            os.environ.pop(JOB_FILE, None)

    return job


def jobs_in(folder: Path) -> list[Job]:
    """Return the jobs of a sweep that have begun, in order."""
    return sorted(map(_read, (folder / JOBS).glob("*.json")), key=lambda job: job.number)


class _Sweep:
    """The sweep that this process runs."""

    def __init__(self) -> None:
        self.is_open, self.folder = False, None  # type: tuple[bool, Path | None]
        self._held = ExitStack()

    @contextmanager
    def open(self) -> Iterator[None]:
        self.is_open, self.folder = True, None
        with self._held:
            try:
                yield
            finally:
                self.is_open = False

    def begin(self, folder: Path) -> None:
        self._held.enter_context(claimed(folder))
        shutil.rmtree(folder / JOBS, ignore_errors=True)
        self.folder = folder


_sweep = _Sweep()


def _for_the_sweep(task: Callable[[DictConfig], Any], cfg: DictConfig, file: Path) -> Any:
    """Run a job in a process of its own, whose sweep tells how to go on where a signal ends both."""
    try:
        return _noted(task, cfg, file)
    except BaseException as error:
        ended = as_ended(error)
        if ended is None:
            raise
        raise Ended(ended.number, is_told=True) from error


def _noted(task: Callable[[DictConfig], Any], cfg: DictConfig, file: Path) -> Any:
    """Run a job's task and write down how it ended; an exception goes on."""
    try:
        value = task(cfg)
    except (Exception, SystemExit) as error:
        if as_ended(error) is not None:
            raise
        noted = _read(file)
        if noted.status == RUNNING:  # otherwise the job's own process has written it down
            status = REFUSED if isinstance(error, SystemExit) and error.code == _REFUSED_CODE else FAILED
            write_json(file, asdict(replace(noted, status=status, why=_why(error))))
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        raise
    write_json(file, asdict(replace(_read(file), status=DONE)))
    return value


def _why(error: BaseException) -> str:
    """Return in one line why a job has no result."""
    cause = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ is not None else error
    if isinstance(cause, SystemExit):
        return f"its process ended with exit code {cause.code}" if isinstance(cause.code, int) else str(cause.code)
    text = " ".join((message_of(cause) or str(cause)).split())
    is_told = isinstance(error, SystemExit) or message_of(cause) is not None
    return text if is_told else f"{type(cause).__name__}: {text}"


def _read(file: Path) -> Job:
    content = json.loads(file.read_text(encoding="utf-8"))
    return Job(**{**content, "overrides": tuple(content["overrides"])})


def _way_on(command: str, arguments: Sequence[str], jobs: Sequence[Job], folder: Path) -> str:
    """Say how to finish an interrupted sweep: first the jobs that were running, then the rest."""
    cut = [job for job in jobs if job.status == RUNNING and (Path(job.folder) / LAST).exists()]
    lines = [to_type(command, resuming(job.overrides, Path(job.folder))) for job in cut]
    rest = [one for one in arguments if not one.startswith("hydra.sweep.dir=")]
    lines.append(to_type(command, [*rest, setting("hydra.sweep.dir", shown(folder))]))
    finished = sum(job.status in (DONE, KEPT) for job in jobs)
    return f"Finished jobs are kept ({finished}). To go on, type: {' && '.join(lines)}"
