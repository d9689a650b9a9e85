"""Cells as jobs of a cluster or of this machine, through submitit."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.cell_training import ONE_THREAD, Failure, Outcome, environment, outcome_of, task_of, train_cell
from semscale_pl.tables.schema import Table
from semscale_pl.tables.workers import without_data

CLUSTERS = ("local", "slurm")
# What submitit understands on every cluster; the rest is Slurm's and gets its prefix.
_UNIVERSAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
_SHORT = {"timeout": "timeout_min", "gpus": "gpus_per_node", "cpus": "cpus_per_task"}
_MOST_MINUTES = 24 * 60  # submitit's own default, five minutes, ends most trainings
_POLL_SECONDS = {"local": 0.2, "slurm": 5.0}


@dataclass(frozen=True)
class Cluster:
    """Where jobs go, and what each asks for.

    Args:
        kind: ``local`` or ``slurm``.
        settings: of a job, such as ``{"partition": "gpu", "timeout": 240, "gpus": 1}``: minutes, whole GPUs, ``cpus``,
            ``mem_gb``; anything else is an option of Slurm.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """Return the settings under submitit's names.

        Example:
            >>> Cluster("slurm", {"timeout": 60, "partition": "gpu"}).parameters()
            {'timeout_min': 60, 'slurm_partition': 'gpu'}
        """
        names = {key: _SHORT.get(key, key) for key in self.settings}
        return {
            name if name in _UNIVERSAL or name.startswith("slurm_") else f"slurm_{name}": self.settings[key]
            for key, name in names.items()
        }


def check_cluster(cluster: Cluster) -> None:
    """Check that jobs can be submitted.

    Raises:
        ValueError: the kind is unknown, submitit is not installed, or there is no Slurm here.
    """
    if cluster.kind not in CLUSTERS:
        raise ValueError(f"Expected `submitit` to be one of {list(CLUSTERS)}, but got {cluster.kind!r}.")
    if importlib.util.find_spec("submitit") is None:
        raise ValueError(
            "Expected submitit to be installed for `submitit=`, but it is not. pip install 'semscale-pl[launchers]'."
        )
    if cluster.kind == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("Expected Slurm's `sbatch` for submitit=slurm, but it is not here. Use submitit=local.")


def run_jobs(
    table: Table, runs: Sequence[CellRun], cluster: Cluster, jobs: int, poll_seconds: float | None = None
) -> Iterator[Outcome]:
    """Run cells as jobs and yield each outcome as it comes.

    A job that raises, is killed or runs out of time is an outcome with a failure. Closing the iterator, or any
    exception in the consumer such as KeyboardInterrupt, cancels the jobs that are left.

    Args:
        jobs: how many are submitted and unfinished at a time.
        poll_seconds: between two looks at the jobs; by default what suits the cluster.

    Raises:
        ValueError: submitit does not know a setting; nothing was submitted.
    """
    if not runs:
        return
    executor = _executor(cluster, runs[0].folder.parent / "jobs", table.full_name)
    pending, active = deque(runs), dict[Any, tuple[CellRun, float]]()
    try:
        while pending or active:
            while pending and len(active) < jobs:
                run = pending.popleft()
                active[_submit(executor, cluster, table, run)] = (run, time.monotonic())
            for job in [job for job in active if job.done()]:
                run, started = active.pop(job)
                outcome = outcome_of(run, time.monotonic() - started, _failure_of(job))
                untried = without_data(outcome, pending)
                yield outcome
                yield from untried
            if active:
                time.sleep(_POLL_SECONDS[cluster.kind] if poll_seconds is None else poll_seconds)
    finally:
        tasks = [pid for job in active for pid in _tasks(job)] if cluster.kind == "local" else []
        for job in active:
            job.cancel()
        if cluster.kind == "local":
            _await(list(active), tasks)


def _executor(cluster: Cluster, folder: Path, name: str) -> Any:
    import submitit

    executor = submitit.AutoExecutor(folder=folder, cluster=cluster.kind)
    try:
        executor.update_parameters(**{"name": name, "timeout_min": _MOST_MINUTES, **cluster.parameters()})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected the settings submitit.KEY to be submitit's, but: {reason}") from None
    return executor


def _submit(executor: Any, cluster: Cluster, table: Table, run: CellRun) -> Any:
    # A job of this machine shares it with the others; on a cluster the job's own allocation decides.
    with environment(ONE_THREAD if cluster.kind == "local" else {}), _interruptible():
        return executor.submit(train_cell, task_of(table, run))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let processes that are started meanwhile receive SIGINT, by which submitit cancels its local jobs.

    What a shell starts in the background ignores that signal, and so would its children.
    """
    ignored = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    )
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tasks(job: Any) -> list[int]:
    """Return the processes that the controller of a job of this machine has started, as far as the system says."""
    try:
        return [int(pid) for pid in Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()]
    except OSError:  # the job has ended, or this is not Linux
        return []


def _await(jobs: Sequence[Any], tasks: Sequence[int], seconds: float = 10.0) -> None:
    """Outlive the processes of cancelled jobs: controllers, and the tasks that these kill without waiting for them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (all(job.done() for job in jobs) and not any(map(_is_there, tasks))):
        time.sleep(_POLL_SECONDS["local"])


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _failure_of(job: Any) -> Failure | None:
    import submitit

    try:
        return job.result()  # type: ignore[no-any-return]
    except submitit.core.utils.UncompletedJobError:
        return Failure(f"job {job.job_id} ended without a result (state {job.state}); see {job.paths.stderr}")
    except submitit.core.utils.FailedJobError as error:
        return Failure(f"job {job.job_id} failed: {str(error).strip().splitlines()[-1]}")
