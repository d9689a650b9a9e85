"""`semscale demo`: cross-entropy, DSB-CE and their rivals on long-tailed digits, over five seeds, in minutes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semscale_pl.cli import table
from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import INTERRUPTED, OK, complain

USAGE = """usage: semscale demo [KEY=VALUE ...]

  Trains eight methods on long-tailed digits over five seeds, on the CPU, and leaves table and figure in runs/demo/.
  Takes the settings of `semscale table`.
"""
SHOWN = ("CE", "DSB-CE", "Balanced Softmax")


def main(argv: Sequence[str]) -> int:
    """Run the demo.

    Args:
        argv: settings as of ``semscale table``.

    Returns:
        0 done, 1 a cell failed, 2 wrong call, 130 interrupted.
    """
    if argv and argv[0] in ("--help", "-h", "help"):
        sys.stdout.write(USAGE)
        return OK
    try:
        call = table.parse(argv)
        call = call if call.out else replace(call, out=Path("runs/demo"))
        return table.execute(experiments_dir() / "demo.yaml", call, figure="demo.png", shown=SHOWN)
    except ValueError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished cells are kept; the same command goes on from there.\n")
        return INTERRUPTED
