"""Several processes in one run, alone and under Hydra's multirun.

Lightning's launcher starts the other ranks by executing the command line again. In a plain run that line only has to
be whole again, command included. Under multirun it would start the whole sweep, so each job that needs several
processes becomes a plain run in a process of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

# Set by torchrun, SLURM and Lightning's own launcher in processes that are ranks already.
_RANK_VARIABLES = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")
# Their order is Lightning's; the first that is set says which rank a process is.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# What Hydra reads as it stands: with a slash it is neither a number nor one of the words for nothing, true and false.
_PLAIN = re.compile(r"[\w./-]*/[\w./-]*", re.ASCII)


def is_first_process() -> bool:
    """Return whether this is a run's only process or the first of its ranks, also before they have met."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def run_folder() -> Path:
    """Return the folder of the running Hydra job."""
    return Path(HydraConfig.get().runtime.output_dir)


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
    done = subprocess.run([sys.executable, "-m", "semscale_pl", command, *overrides, folder], check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode if done.returncode > 0 else 1)


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


def shown(path: Path) -> str:
    """Return a path as it is typed in the present folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path != here and path.is_relative_to(here) else str(path)


def setting(key: str, value: str) -> str:
    """Return ``key=value`` for a command line, quoted where Hydra or the shell needs it.

    Example:
        >>> setting("ckpt_path", "runs/one/checkpoints/last.ckpt")
        'ckpt_path=runs/one/checkpoints/last.ckpt'
        >>> print(setting("hydra.run.dir", "runs/my run"))
        "hydra.run.dir='runs/my run'"
    """
    line = f"{key}={value if _PLAIN.fullmatch(value) else quoted(value)}"
    return shlex.quote(line) if "'" not in line or set(line) & set('"$`\\!') else f'"{line}"'


def quoted(text: str) -> str:
    """Quote a value for Hydra's override grammar.

    Example:
        >>> quoted("runs/a=1,b")
        "'runs/a=1,b'"
    """
    # Hydra reads a backslash as itself, except before a quote.
    return "'" + re.sub(r"(\\*)(\'|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"
