"""`semscale demo`: cross-entropy, DSB-CE and their rivals on long-tailed digits, over five seeds, in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semscale_pl.cli import table
from semscale_pl.cli.command import Call, Command
from semscale_pl.config.composing import experiments_dir

SHOWN = ("CE", "DSB-CE", "Balanced Softmax")
COMMAND = Command(
    name="demo",
    usage=["[KEY=VALUE ...]"],
    settings={
        "Trains nine methods on long-tailed digits over five seeds, on the CPU, and leaves table and figure in\n"
        "runs/demo/. Takes the settings of `semscale table`.": table.SETTINGS
    },
    takes_overrides=True,
    may_be_bare=True,
    kept=table.KEPT,
)


def main(argv: Sequence[str]) -> int:
    """Run the demo: 0 done, 1 a cell failed, 2 wrong call, 130 interrupted."""
    return COMMAND.run(argv, execute)


def execute(call: Call) -> int:
    """Run the demo's table."""
    call.out = call.out or Path("runs/demo")
    return table.execute(experiments_dir() / "demo.yaml", call, figure="demo.png", shown=SHOWN)
