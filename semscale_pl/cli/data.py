"""`semscale data verify dataset=NAME`: what a dataset must contain, and what is there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semscale_pl.config.checks import composed
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import (
    FAILED,
    INTERRUPTED,
    OK,
    WRONG_CALL,
    WrongCallError,
    complain,
    did_you_mean,
    message_of,
)
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.data.verification import Report

USAGE = """usage: semscale data verify dataset=NAME [KEY=VALUE ...]

  dataset=NAME            one of conf/dataset, for example cifar100, imagenet_lt, image_folder
  dataset.root=FOLDER     where the data is; SEMSCALE_DATA unless given
  dataset.download=true   fetch what torchvision can fetch
  decode=false            check that the images are there without opening them
  KEY=VALUE               any other override of `semscale train`

Exit code 0: all is there and right; 1: something is missing or wrong; 2: wrong call.
"""
SHOWN_IMAGES = 50
_MARKS = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]note[/]"}


def main(argv: Sequence[str]) -> int:
    """Verify a dataset.

    Args:
        argv: "verify" and overrides, see ``semscale data --help``.

    Returns:
        0 all right, 1 something missing or wrong, 2 wrong call, 130 interrupted.
    """
    if not argv or argv[0] in ("--help", "-h", "help") or {"--help", "-h"} & set(argv):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return OK if argv else WRONG_CALL
    try:
        overrides, decode = parse(argv)
        cfg = composed(overrides)
        return _verify(cfg, decode)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except Exception as error:
        message = message_of(error, "train")
        if message is None:
            raise
        return complain(message)


def parse(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Split a call into Hydra overrides and whether to decode.

    Args:
        argv: "verify" and overrides.

    Raises:
        WrongCallError: another action, no dataset, or an argument that is not KEY=VALUE.
    """
    if argv[0] != "verify":
        raise WrongCallError(
            f"Unknown action `{argv[0]}` of `semscale data`.{did_you_mean(argv[0], ['verify'])} "
            "Use `semscale data verify dataset=NAME`."
        )
    overrides, decode = [], True
    for argument in argv[1:]:
        key, sign, value = argument.partition("=")
        if not sign:
            raise WrongCallError(f"Expected KEY=VALUE, but got {argument!r}. See `semscale data --help`.")
        if key == "decode":
            if value.lower() not in ("true", "false"):
                raise WrongCallError(f"Expected `decode` to be true or false, but got {value!r}.")
            decode = value.lower() == "true"
        else:
            overrides.append(argument)
    if not any(override.startswith("dataset=") for override in overrides):
        names = sorted(path.stem for path in (config_dir() / "dataset").glob("*.yaml") if path.stem != "base")
        raise WrongCallError(f"Expected a dataset. Pass dataset=NAME, one of {', '.join(names)}.")
    return overrides, decode


def _verify(cfg: Any, decode: bool) -> int:
    from hydra.utils import instantiate
    from rich.console import Console

    from semscale_pl.data.verification import verify

    data = instantiate(cfg.dataset)
    console = Console(highlight=False)
    report = verify(data, decode, Progress("decoded {} images").over)
    source = cfg.dataset.source
    address = source.get("address") or source.get("source", {}).get("address") or getattr(data.source, "address", "")
    console.print(f"[bold]{cfg.dataset.name}[/] in {data.root.resolve()}", soft_wrap=True)
    if address:
        console.print(f"from {address}", soft_wrap=True, markup=False)
    _show(report, console)
    console.print("All is there and right." if report.ok else "Something is missing or wrong.", soft_wrap=True)
    return OK if report.ok else FAILED


def _show(report: Report, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    if report.findings:
        table = Table("", "expected", "found", "")
        for entry in report.findings:
            table.add_row(Text(entry.what), Text(entry.expected or "any"), Text(entry.found), _MARKS[entry.ok])
        console.print(table)
    for problem in report.problems:
        console.print(problem, soft_wrap=True, markup=False)
    if report.bad_images:
        console.print(f"{len(report.bad_images):,} images are missing or cannot be decoded:", soft_wrap=True)
    for path, reason in report.bad_images[:SHOWN_IMAGES]:
        console.print(f"  {path}: {reason}", soft_wrap=True, markup=False)
    if len(report.bad_images) > SHOWN_IMAGES:
        console.print(f"  and {len(report.bad_images) - SHOWN_IMAGES:,} more", soft_wrap=True)
