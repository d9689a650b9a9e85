"""Memory in words and in bytes: what was asked for, what is taken and what is left of it."""

from __future__ import annotations

import re
from pathlib import Path

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(value: int | str) -> int:
    """Read a size: a number of bytes, or a number and one of B, KB, MB, GB, KiB, MiB, GiB.

    Raises:
        ValueError: it is neither, or 0.

    Example:
        >>> parse_bytes("1.5 GiB")
        1610612736
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if found is None or found[2].upper() not in _UNITS or float(found[1]) == 0:
        raise ValueError(f'Expected `max_memory` to be bytes or a size such as "1GiB", but got {value!r}.')
    return int(float(found[1]) * _UNITS[found[2].upper()])


def resident() -> int:
    """Return the bytes of this process that are in memory; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next((line for line in status.read_text().splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024


def left_of(max_memory: int, before: int = 0) -> int:
    """Return how many of the bytes allowed have not been taken yet.

    What was :func:`resident` before the work began, such as a notebook or a test run, is not the work's.
    """
    return max_memory - max(0, resident() - before)
