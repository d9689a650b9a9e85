"""Several processes in one run, alone and under Hydra's multirun.

Lightning's launcher starts the other ranks by executing the command line again. In a plain run that line only has to
be whole again, command included. Under multirun it would start the whole sweep, so each job that needs several
processes becomes a plain run in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from semscale_pl.config.command_line import quoted

# Set by torchrun, SLURM and Lightning's own launcher in processes that are ranks already.
_RANK_VARIABLES = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")


def run_folder() -> Path:
    """Return the folder of the running Hydra job."""
    return Path(HydraConfig.get().runtime.output_dir)


def typed_flags() -> list[str]:
    """Return the flags that say where configurations are, as they were typed."""
    from hydra._internal.utils import get_args_parser

    typed = vars(get_args_parser().parse_known_args(sys.argv[1:])[0])
    names = {"config_path": "--config-path", "config_dir": "--config-dir", "config_name": "--config-name"}
    return [part for key, flag in names.items() if typed[key] is not None for part in (flag, typed[key])]


def needs_own_process(cfg: DictConfig) -> bool:
    """Return whether this is a job of a sweep that Lightning would start several processes for."""
    if not HydraConfig.initialized() or any(name in os.environ for name in _RANK_VARIABLES):
        return False
    return HydraConfig.get().mode == RunMode.MULTIRUN and is_distributed(cfg)


def is_distributed(cfg: DictConfig) -> bool:
    """Return whether a run has several processes."""
    devices = cfg.trainer.devices
    return str(cfg.trainer.strategy).startswith("ddp") or devices == "auto" or devices > 1 or cfg.trainer.num_nodes > 1


def run_in_own_process(command: str) -> None:
    """Run the present job of a sweep again, as a plain run in a new process and in the same folder.

    Raises:
        SystemExit: with the exit code of a process that did not end well.
    """
    overrides = list(HydraConfig.get().overrides.task)
    folder = f"hydra.run.dir={quoted(str(run_folder()))}"
    line = [sys.executable, "-m", "semscale_pl", command, *typed_flags(), *overrides, folder]
    with subprocess.Popen(line) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # so that it ends its ranks; it takes no longer than it is allowed
            process.wait()
            raise
    if code < 0:
        raise SystemExit(f"its process was ended by {signal.Signals(-code).name}")
    if code != 0:
        raise SystemExit(code)


@contextmanager
def repeatable_command_line(command: str) -> Iterator[None]:
    """Put the command back into `sys.argv` while Lightning may start other ranks from it."""
    before = sys.argv
    if HydraConfig.initialized():
        sys.argv = [before[0], command, *before[1:]]
    try:
        yield
    finally:
        sys.argv = before
