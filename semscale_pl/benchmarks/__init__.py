"""The benchmarks behind the performance page: what they share to read options, take the time and print figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# torch is imported where it is used: a process that measures a loop in numpy should not hold it in memory.


def parse_options(
    description: str,
    arguments: Sequence[str] | None,
    defaults: Mapping[str, int | str],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Read a benchmark's options and limit torch to ``--threads``.

    Args:
        description: of the benchmark.
        arguments: of the command line; None for those of the process.
        defaults: of the options; their types are those of the values. ``--threads`` and ``--json`` come on top.
        choices: of some options.

    Returns:
        The options with ``threads``, and whether to print JSON.
    """
    import torch

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, default in {**defaults, "threads": 1}.items():
        flag, allowed = f"--{name.replace('_', '-')}", (choices or {}).get(name)
        parser.add_argument(flag, type=type(default), default=default, choices=allowed, help=name.replace("_", " "))
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = vars(parser.parse_args(arguments))
    as_json = options.pop("json")
    torch.set_num_threads(options["threads"])
    return options, as_json


def print_figures(figures: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print a benchmark's figures as a line of JSON, or as text."""
    sys.stdout.write((json.dumps(figures) if as_json else text) + "\n")


def now(device: str, cpu_clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the time in seconds once a device has done its work."""
    if device == "cpu":
        return cpu_clock()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def origin() -> dict[str, Any]:
    """Return versions, commit, processor and how busy it was before: only the ratios go beyond one machine."""
    import torch

    from semscale_pl.training.provenance import commit, device_name, versions

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    device = device_name(torch.device("cpu"))
    return {"versions": versions(), "commit": commit(), "device": device, "cores": os.cpu_count(), "load": load}


def peak_mib() -> float:
    """Return the peak of this process's resident memory, that of its parent before the start not included."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
