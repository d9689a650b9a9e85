"""`semscale table FILE [profile=] [jobs=] [seeds=] [publish=true] [Hydra overrides]`: run and print a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.cli.command import Call, Command, Setting, new_folder, read_text
from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import FAILED, OK, UNFINISHED

if TYPE_CHECKING:
    from semscale_pl.tables.engine import TableResult
    from semscale_pl.tables.jobs import Cluster
    from semscale_pl.tables.schema import Table
    from semscale_pl.tables.time_limit import TimeLimit

# What a cluster's queue takes at a time unless jobs= says otherwise; this machine's processes share its cores.
MOST_JOBS = 1024


def read_seeds(key: str, text: str) -> tuple[int, ...]:
    """Read seeds between commas; ValueError where they are not numbers."""
    parts = [part.strip() for part in text.strip("[]").split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"Expected `{key}` to be numbers such as 0,1,2, but got {text!r}.")
    return tuple(int(part) for part in parts)


def read_pack_name(key: str, text: str) -> Path:
    """Read the name of a pack; ValueError where it does not end as one."""
    if not text.endswith(".tar.gz"):
        raise ValueError(f"Expected `{key}` to be a file's name that ends in .tar.gz, but got {text!r}.")
    return Path(text)


SETTINGS: list[Setting | tuple[str, str]] = [
    Setting("profile", "one of the file's profiles", shown="NAME", read=read_text, may_be_empty=True),
    Setting(
        "jobs",
        "worker processes: of one thread each, or with trainer=gpu side by side on the cards,\n"
        "each with its share of their memory; with submitit, jobs at a time",
        2,
    ),
    Setting(
        "minutes",
        "from the start of the call; then no cell begins, those under way stop after an epoch,\n"
        "and the same call goes on",
        shown="NUMBER",
    ),
    Setting("seeds", "instead of the file's", (), shown="0,1,2", read=read_seeds, may_be_empty=True),
    Setting(
        "submitit",
        "run each cell as a job; submitit.KEY=VALUE says what a job asks for: partition, timeout\n"
        "(minutes), gpus, cpus, mem_gb, or any other option of Slurm",
        shown="local|slurm",
        read=read_text,
    ),
    Setting("runs", "where cells are kept; finished ones are not run again", Path("runs/tables"), read=new_folder),
    Setting(
        "out", "where the table goes; runs/tables/NAME unless given", shown="FOLDER", read=new_folder, may_be_empty=True
    ),
    Setting(
        "publish",
        "also copy table and cells to experiments/results/; finished: those that are there",
        False,
        shown="true",
    ),
    Setting(
        "pack",
        "also pack the finished cells without checkpoints, 16 MiB a file",
        shown="FILE.tar.gz",
        read=read_pack_name,
    ),
    Setting(
        "import", "take the finished cells of such a pack, and train none", shown="FILE.tar.gz", read=read_pack_name
    ),
    ("KEY=VALUE", "any other override of `semscale train`, for every cell; logger=wandb sends each to W&B"),
]
KEPT = "Finished cells are kept."
COMMAND = Command(
    name="table",
    usage=["FILE [KEY=VALUE ...]"],
    settings={"": [("FILE", "a table's YAML, or the name of one in experiments/"), *SETTINGS]},
    notes="Exit code 0: done, also where a dataset is absent and the table says so; 1: a cell failed; 2: wrong call;\n"
    "3: stopped by minutes=, 130: interrupted, the same command goes on.",
    argument="FILE",
    takes_overrides=True,
    kept=KEPT,
)


def main(argv: Sequence[str]) -> int:
    """Run a table: 0 done, 1 a cell failed, 2 wrong call, 3 stopped by its limit of time, 130 interrupted."""
    return COMMAND.run(argv, lambda call: execute(find_table(call.name), call))


def execute(file: Path, call: Call, figure: str = "figure.png", shown: Sequence[str] = ()) -> int:
    """Run a table's missing cells, print the table beside the published one and save it.

    Args:
        file: the table's YAML.
        call: the settings.
        figure: name of the picture.
        shown: rows whose class accuracies the picture shows.

    Raises:
        ValueError: the table or a setting is wrong; nothing was run.
    """
    started = time.monotonic()
    from semscale_pl.tables.engine import print_table, run_table, save_table
    from semscale_pl.tables.packing import write_pack
    from semscale_pl.tables.publishing import RESULTS, find_published, publish, with_published
    from semscale_pl.tables.schema import checked_seeds, load_table

    call = with_cluster(call)
    limit = _limit(call, started)
    table = load_table(file, call.profile)
    if call.seeds:
        table = replace(table, seeds=checked_seeds(call.seeds))
    published = find_published(table, [file.parent / "results"])
    taken = _import(table, call)
    result = run_table(
        table,
        call.runs,
        jobs=call.jobs,
        overrides=call.overrides,
        cluster=call.cluster,
        limit=limit,
        train=taken is None,
    )
    table, all_runs = result.summary.table, (*result.tuning, *result.runs)
    packed = all_runs, call.overrides, {**result.unfinished, **result.failures, **result.absent}
    files = write_pack(table, *packed, call.pack) if call.pack else []
    # The table must say what ran.
    table = replace(table, base=(*table.base, *call.overrides))
    result = replace(result, summary=replace(result.summary, table=table))
    shown_result = replace(result, summary=with_published(result.summary, published))
    folder = call.out or call.runs / table.full_name
    save_table(shown_result, folder)
    _draw(result, folder, figure, shown)
    print_table(shown_result)
    sys.stdout.write(f"Saved under {folder}\n")
    sys.stdout.writelines(f"Packed in {file}\n" for file in files)
    if taken is not None:
        sys.stdout.write(taken)
    elif result.unfinished:
        sys.stdout.write(left_over(result, call.minutes, call.again))
    if result.failures:
        return FAILED
    if result.unfinished and taken is None:
        return UNFINISHED
    if call.publish:
        sys.stdout.write(f"Published under {publish(result, RESULTS, call.publish == 'finished')}\n")
    return OK


def _import(table: Table, call: Call) -> str | None:
    """Take the cells of a pack, and say what it brought; None where there is no pack."""
    from semscale_pl.tables.packing import read_pack

    file: Path | None = getattr(call, "import")
    if file is None:
        return None
    found = read_pack(table, call.overrides, call.runs, file)
    text = f"{len(found.new)} new cells, {len(found.known)} that were here already"
    return f"Imported from {file}: {text}; {len(found.unfinished)} were unfinished where it was packed.\n"


def left_over(result: TableResult, minutes: float | None, again: str) -> str:
    """Say what a call has left, and what to type."""
    tuning = result.tuning and not result.runs  # its rows have no setting yet
    runs, what = (result.tuning, "tuning runs") if tuning else (result.runs, "cells")
    finished = len(runs) - len(result.unfinished) - len(result.failures) - len(result.absent)
    begun = sum(text != "not begun" for text in result.unfinished.values())
    waiting = len(result.unfinished) - begun
    text = f"{finished} of {len(runs)} {what} are finished, {begun} are begun, {waiting} are not."
    text += " The table's own cells come after them." if tuning else ""
    further = "" if result.num_epochs or result.num_trained else " None came an epoch further: give more minutes."
    return f"Stopped by minutes={minutes:g}: {text}{further} To go on, type: {again}\n"


def _limit(call: Call, started: float) -> TimeLimit | None:
    from semscale_pl.tables.time_limit import TimeLimit

    if call.minutes is None:
        return None
    if call.cluster is not None:
        raise ValueError("Expected `minutes` without submitit, but got both. A job's own limit is submitit.timeout=.")
    return TimeLimit(call.minutes, started)


def _draw(result: TableResult, folder: Path, figure: str, shown: Sequence[str]) -> None:
    """Draw the pictures, unless those that are there show these very cells: matplotlib takes seconds to import."""
    from semscale_pl.files import write_text

    drawn, cells = folder / ".drawn", " ".join([*shown, *(run.folder.name for run in result.runs if run.metrics())])
    if (folder / figure).is_file() and drawn.is_file() and drawn.read_text(encoding="utf-8") == cells:
        return
    from semscale_pl.tables.pictures import save_confusions, save_figure_of

    save_figure_of(result, folder / figure, shown)
    if "confusion" in result.summary.table.pictures:
        save_confusions(result, folder)
    write_text(drawn, cells)


def find_table(name: str) -> Path:
    """Return the file that a name means: a path, or an entry of experiments/."""
    path = Path(name)
    bundled = experiments_dir() / f"{path.stem}.yaml"
    return bundled if not path.is_file() and bundled.is_file() else path


def with_cluster(call: Call) -> Call:
    """Return a call with ``cluster``, and with ``overrides`` that are for the trainings alone.

    Raises:
        ValueError: jobs cannot be submitted there, or one seed was given instead of seeds.
    """
    if any(entry.lstrip("+").startswith("seed=") for entry in call.overrides):
        raise ValueError("Expected the seeds of a table as seeds=0,1,2, but got seed=.")
    pairs = [entry.partition("=") for entry in call.overrides if entry.startswith("submitit.")]
    settings = {key.removeprefix("submitit."): int(text) if text.isdigit() else text for key, _, text in pairs}
    overrides = tuple(entry for entry in call.overrides if not entry.startswith("submitit."))
    cluster = _cluster(call.submitit, settings)
    jobs = MOST_JOBS if call.submitit == "slurm" and "jobs" not in call.given else call.jobs
    return Call(**{**vars(call), "cluster": cluster, "overrides": overrides, "jobs": jobs})


def _cluster(kind: str | None, settings: dict[str, int | str]) -> Cluster | None:
    from semscale_pl.tables.jobs import Cluster, check_cluster

    if kind is None:
        if settings:
            raise ValueError(f"Expected submitit=local or slurm beside submitit.{next(iter(settings))}=.")
        return None
    cluster = Cluster(kind, settings)
    check_cluster(cluster)
    return cluster
