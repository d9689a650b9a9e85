"""The console script: picks the command, hands the rest to Hydra and turns every ending into an exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

from semscale_pl import __version__
from semscale_pl.cli.command import new_folder
from semscale_pl.config.command_line import quoted, to_type
from semscale_pl.config.errors import FAILED, OK, WRONG_CALL, WrongCallError, complain, did_you_mean, exit_code
from semscale_pl.config.leftovers import FOLDER_KEYS, leftovers
from semscale_pl.config.stopping import ending_by_signals
from semscale_pl.config.sweeps import FLAGS, check_sweep, is_sweep, runnable
from semscale_pl.terminal import unbreakable

# Command to the module that has `CONFIG` (a file of conf/, without .yaml), `check(cfg)` and `run(cfg)`; and what
# it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("semscale_pl.cli.train", "train and test one model; -m sweeps over comma-separated values"),
    "evaluate": (
        "semscale_pl.cli.evaluate",
        "metrics of a checkpoint, class by class: semscale evaluate ckpt=PATH",
    ),
    "predict": (
        "semscale_pl.cli.predict",
        "classes of your images: semscale predict ckpt=PATH images=FOLDER|FILE",
    ),
    "head": ("semscale_pl.cli.head", "another head for a trained model: semscale head ckpt=PATH recipe=crt|lws|..."),
    "export": ("semscale_pl.cli.export", "a model as one file: semscale export ckpt=PATH format=onnx|torchscript"),
}

# The same for commands that run many configurations and take the rest of the command line themselves: `main(argv)`.
DIRECT_COMMANDS: dict[str, tuple[str, str]] = {
    "table": ("semscale_pl.cli.table", "run what is missing of a table and print it: semscale table FILE"),
    "data": ("semscale_pl.cli.data", "compare a dataset with what it must contain: semscale data verify dataset=NAME"),
    "measure": ("semscale_pl.cli.measure", "how diverse each class is: semscale measure features=FILE | dataset=NAME"),
    "embed": (
        "semscale_pl.cli.embed",
        "a network's features of a dataset: semscale embed dataset=NAME backbone=NAME",
    ),
    "advise": ("semscale_pl.cli.advise", "what to collect next: semscale advise features=FILE batch=20 threshold=0.02"),
    "study": ("semscale_pl.cli.study", "run one of the paper's analyses and draw it: semscale study NAME"),
    "claims": ("semscale_pl.cli.claims", "verdicts on the paper's claims, by the intervals of published results"),
    "figure": ("semscale_pl.cli.figure", "draw a figure again from stored results: semscale figure NAME"),
    "bench": ("semscale_pl.cli.bench", "the benchmarks behind the performance page: semscale bench NAME"),
    "demo": ("semscale_pl.cli.demo", "nine methods on long-tailed digits over five seeds: table and figure"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with its overrides, those of the process unless given.

    Returns:
        0 done, 1 failed while running or stdout is full, 2 wrong call or configuration, 128 and its number where a
        signal ended it: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP. A reader that closes the pipe changes nothing: the command
        goes on in silence, saves what it saves, and ends as it would.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "COMP_LINE" in os.environ:
        _take_command_out_of_completion()
    with ending_by_signals(), unbreakable() as losses:
        code = _answer(arguments)
        sys.stdout.flush()
        if losses.reason:
            complain(f"Could not print all of it: {losses.reason}. What the command saves is whole.")
    return code or (FAILED if losses.reason else OK)


def _answer(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(usage())
        return WRONG_CALL
    command, overrides = arguments[0], arguments[1:]
    if command in ("help", "--help", "-h"):
        sys.stdout.write(usage())
        return OK
    if command in ("--version", "-V"):
        sys.stdout.write(f"semscale {__version__}\n")
        return OK
    if command in DIRECT_COMMANDS:
        return int(import_module(DIRECT_COMMANDS[command][0]).main(overrides))
    if command not in COMMANDS:
        known = [*COMMANDS, *DIRECT_COMMANDS]
        return complain(f"Unknown command `{command}`.{did_you_mean(command, known)} See `semscale help`.")
    before = sys.argv
    try:
        again = f"To start again, type: {to_type(command, overrides)}"
        return exit_code(lambda: _run(command, overrides), config_name=command, interrupted=again)
    finally:
        sys.argv = before


def usage() -> str:
    """Return the text of `semscale help`."""
    commands = {**COMMANDS, **DIRECT_COMMANDS}
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in commands.items()]
    lines.append(f"  {'help':<{width}}  this text; `semscale COMMAND --help` shows a command's options")
    return "\n".join(["usage: semscale COMMAND [KEY=VALUE ...]", "       semscale --version", "", *lines, ""])


def _run(command: str, overrides: list[str]) -> int:
    import hydra
    from hydra._internal.utils import get_args_parser

    from semscale_pl.config.composing import config_dir
    from semscale_pl.training.sweep import JOB_FILE, as_job, sweeping
    from semscale_pl.training.sweep_table import finish

    # argparse would not find a positional argument that follows the flag.
    overrides = sorted(overrides, key=lambda argument: argument not in FLAGS)
    _, unknown = get_args_parser().parse_known_args(overrides)
    if unknown:
        return complain(f"Unknown option `{unknown[0]}`. Settings are KEY=VALUE; see `semscale {command} --help`.")
    overrides = [_readable(argument) for argument in overrides]
    module = import_module(COMMANDS[command][0])
    # Hydra reads sys.argv, and would otherwise print a configuration error itself and exit with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    typed, sweeps = overrides, is_sweep(overrides)
    if sweeps:
        check_sweep(module.CONFIG, overrides, module.check)
        overrides = runnable(overrides)
    _quieten()
    sys.argv = [sys.argv[0] if sys.argv else "semscale", *overrides]
    leftovers.note(overrides)
    task = as_job(module.run) if sweeps or JOB_FILE in os.environ else module.run
    with sweeping(command, typed, finish) if sweeps else nullcontext():
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=module.CONFIG)(task)()
    return OK


def _readable(override: str) -> str:
    """Quote a path that is there, whose blanks or parentheses Hydra's grammar would take for its own.

    Raises:
        WrongCallError: the folder of the results is a file, or nothing may be written there.
    """
    key, sign, value = override.partition("=")
    if key in FOLDER_KEYS and value and value[0] not in "'\"$" and "$" not in value:
        try:
            new_folder(key, value)
        except ValueError as error:
            raise WrongCallError(str(error)) from error
    plain = re.fullmatch(r"[\w./:\\+-]*", value, re.ASCII)
    return override if not sign or plain or not Path(value).exists() else f"{key}={quoted(value)}"


def _quieten() -> None:
    """Keep to what the user can act on: no list of absent devices, tips, or warnings within Lightning's own code."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)


def _take_command_out_of_completion() -> None:
    """Let Hydra complete `semscale train opt<TAB>` as if `semscale opt` had been typed."""
    line = os.environ["COMP_LINE"]
    parts = line.split(maxsplit=2)
    if len(parts) < 2 or parts[1] not in COMMANDS:
        return
    shorter = " ".join([parts[0], *parts[2:]]) + (" " if len(parts) == 2 else "")
    point = int(os.environ.get("COMP_POINT", len(line)))
    os.environ["COMP_LINE"] = shorter
    os.environ["COMP_POINT"] = str(max(0, point - (len(line) - len(shorter))))
