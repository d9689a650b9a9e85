"""`semscale bench NAME`: the benchmarks behind docs/performance.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from semscale_pl.cli.command import Command
from semscale_pl.config.errors import did_you_mean

BENCHMARKS = {
    "pool_step": "a step of the feature pool at the size of ImageNet-LT against full recomputations",
    "step_overhead": "the callback's share of a training step, on the CPU or a GPU",
    "input": "augmented images a second: batches in memory against sample by sample and torchvision's transforms",
    "head": "a linear head on features against a bare loop of the same arithmetic, and DSB against CE",
    "gaussian": "the Gaussian classifier against scikit-learn's LDA, fitted to a file of features",
    "memory_format": "channels-last against contiguous weights",
    "measure": "semscale measure on 1,000,000 x 512 features against a numpy loop; 2 GB of disk, minutes",
}
COMMAND = Command(
    name="bench",
    usage=["NAME [--OPTION VALUE ...]"],
    settings={"": list(BENCHMARKS.items())},
    notes="`semscale bench NAME --help`: its options",
    takes_anything=True,
)


def main(argv: Sequence[str]) -> int:
    """Run a benchmark, which prints its figures: 0 done, 1 failed, 2 wrong call, 130 interrupted."""
    return COMMAND.run(argv, execute)


def execute(argv: Sequence[str]) -> int:
    """Run a benchmark with its own options; ValueError where there is none by that name."""
    name, *options = argv
    if name not in BENCHMARKS:
        raise ValueError(f"Unknown benchmark `{name}`.{did_you_mean(name, BENCHMARKS)} See `semscale bench --help`.")
    before = sys.argv
    sys.argv = [f"semscale bench {name}"]  # what argparse calls the program
    try:
        return int(import_module(f"semscale_pl.benchmarks.{name}").main(options))
    finally:
        sys.argv = before
