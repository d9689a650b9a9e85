"""`semscale bench NAME`: the benchmarks behind docs/performance.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from semscale_pl.config.errors import FAILED, INTERRUPTED, OK, WRONG_CALL, complain, did_you_mean

BENCHMARKS = {
    "pool_step": "a step of the feature pool at the size of ImageNet-LT against full recomputations",
    "step_overhead": "the callback's share of a training step of ResNet-32",
    "memory_format": "channels-last against contiguous weights",
    "measure": "semscale measure on 1,000,000 x 512 features against a numpy loop; 2 GB of disk, minutes",
}


def main(argv: Sequence[str]) -> int:
    """Run a benchmark; it prints its figures.

    Args:
        argv: name of the benchmark, and its options.

    Returns:
        0 done, 1 failed, 2 wrong call, 130 interrupted.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        (sys.stdout if argv else sys.stderr).write(usage())
        return OK if argv else WRONG_CALL
    name = argv[0]
    if name not in BENCHMARKS:
        return complain(f"Unknown benchmark `{name}`.{did_you_mean(name, BENCHMARKS)} See `semscale bench --help`.")
    before = sys.argv
    sys.argv = [f"semscale bench {name}"]  # what argparse calls the program
    try:
        return int(import_module(f"semscale_pl.benchmarks.{name}").main(list(argv[1:])))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    finally:
        sys.argv = before


def usage() -> str:
    """Return the text of `semscale bench --help`."""
    width = max(map(len, BENCHMARKS))
    lines = [f"  {name:<{width}}  {what}" for name, what in BENCHMARKS.items()]
    text = [
        "usage: semscale bench NAME [--OPTION VALUE ...]",
        "",
        *lines,
        "",
        "`semscale bench NAME --help`: its options",
    ]
    return "\n".join([*text, ""])
