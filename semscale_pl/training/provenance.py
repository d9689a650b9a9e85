"""Where a result comes from and what it cost: versions, commit, device, memory."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import semscale_pl

if TYPE_CHECKING:
    import torch

# All that git tracks but the published results, which a table's call changes while its other cells still train.
_CODE = (":(top)", ":(top,exclude)experiments/results")
# Of every record; Lightning stands there under a shorter name.
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy")


def versions(*further: str) -> dict[str, str | None]:
    """Return the versions of what computed a result; None for a library that is absent."""
    found = {package.removeprefix("pytorch-"): _version(package) for package in (*PACKAGES, *further)}
    return {"semscale_pl": semscale_pl.__version__, "python": platform.python_version(), **found}


@functools.cache
def commit(folder: Path | None = None) -> str | None:
    """Return the nearest tag of the package's source, or its commit, with ``-dirty`` where files were changed.

    Published results are no part of the source: they may change while the cells of another table train.

    A source that is not under git, such as files copied to another machine, has what ``SEMSCALE_COMMIT`` says, or None.
    """
    source = Path(semscale_pl.__file__).parent if folder is None else folder
    # An installed copy may lie inside somebody else's repository: only files that git tracks have its commit.
    if _git(source, "ls-files", "--error-unmatch", "__init__.py") is None:
        return os.environ.get("SEMSCALE_COMMIT")
    name = _git(source, "describe", "--always", "--tags")
    changed = _git(source, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    return name if name is None or changed == "" else f"{name}-dirty"


def device_name(device: torch.device) -> str:
    """Name the processor that a model lies on."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return _processor() if device.type == "cpu" else device.type


def peak_memory() -> dict[str, int | None]:
    """Return the most memory in bytes that this process held, and that its tensors held on a GPU."""
    import torch

    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"process_bytes": _peak_process_bytes(), "gpu_bytes": gpu}


def _peak_process_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
