"""`semscale data verify dataset=NAME`: what a dataset must contain, and what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.cli.command import Call, Command, Setting
from semscale_pl.config.checks import composed
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import FAILED, OK, WrongCallError, did_you_mean
from semscale_pl.progress import Progress
from semscale_pl.terminal import cell, console, printable

if TYPE_CHECKING:
    from semscale_pl.data.verification import Report

COMMAND = Command(
    name="data",
    usage=["verify dataset=NAME [KEY=VALUE ...]"],
    settings={
        "": [
            ("dataset=NAME", "one of conf/dataset, for example cifar100, imagenet_lt, image_folder"),
            ("dataset.root=FOLDER", "where the data is; SEMSCALE_DATA unless given"),
            ("dataset.download=true", "fetch what torchvision can fetch"),
            Setting("decode", "check that the images are there without opening them", True, shown="false"),
            ("KEY=VALUE", "any other override of `semscale train`"),
        ]
    },
    notes="Exit code 0: all is there and right; 1: something is missing or wrong; 2: wrong call.",
    argument="verify",
    takes_overrides=True,
)
SHOWN_IMAGES = 50
_MARKS = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]note[/]"}


def main(argv: Sequence[str]) -> int:
    """Verify a dataset: 0 all right, 1 something missing or wrong, 2 wrong call, 130 interrupted."""
    return COMMAND.run(argv, lambda call: _verify(configured(call), call.decode))


def configured(call: Call) -> Any:
    """Compose the configuration that a call asks for; WrongCallError for another action, no dataset or a bad value."""
    if call.name != "verify":
        raise WrongCallError(
            f"Unknown action `{call.name}` of `semscale data`.{did_you_mean(call.name, ['verify'])} "
            "Use `semscale data verify dataset=NAME`."
        )
    if not any(override.startswith("dataset=") for override in call.overrides):
        names = sorted(path.stem for path in (config_dir() / "dataset").glob("*.yaml") if path.stem != "base")
        raise WrongCallError(f"Expected a dataset. Pass dataset=NAME, one of {', '.join(names)}.")
    return composed(call.overrides)


def _verify(cfg: Any, decode: bool) -> int:
    from hydra.utils import instantiate

    from semscale_pl.data.verification import verify

    data = instantiate(cfg.dataset)
    report = verify(data, decode, Progress("decoded {} images").over)
    source = cfg.dataset.get("source") or {}
    address = source.get("address") or source.get("source", {}).get("address") or getattr(data.source, "address", "")
    out = console()
    place = cfg.dataset.get("store") or cfg.dataset.get("train") or data.root  # of features, else of all datasets
    out.print(printable(f"{cfg.dataset.name} in {Path(str(place)).resolve()}"), soft_wrap=True, markup=False)
    if address:
        out.print(f"from {address}", soft_wrap=True, markup=False)
    _show(report, out)
    out.print("All is there and right." if report.ok else "Something is missing or wrong.", soft_wrap=True)
    return OK if report.ok else FAILED


def _show(report: Report, out: Any) -> None:
    from rich.table import Table

    if report.findings:
        table = Table("", "expected", "found", "")
        for column in table.columns:
            column.overflow = "fold"  # never cut
        for entry in report.findings:
            table.add_row(cell(entry.what), cell(entry.expected or "any"), cell(entry.found), _MARKS[entry.ok])
        out.print(table)
    for line in (*report.problems, *report.remarks):
        out.print(printable(line), soft_wrap=True, markup=False)
    if report.bad_images:
        out.print(f"{len(report.bad_images):,} images are missing or cannot be decoded:", soft_wrap=True)
    for path, reason in report.bad_images[:SHOWN_IMAGES]:
        out.print(printable(f"  {path}: {reason}"), soft_wrap=True, markup=False)
    if len(report.bad_images) > SHOWN_IMAGES:
        out.print(f"  and {len(report.bad_images) - SHOWN_IMAGES:,} more", soft_wrap=True)
