"""`semscale table FILE [profile=] [jobs=] [seeds=] [publish=true] [Hydra overrides]`: run and print a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import FAILED, INTERRUPTED, OK, WRONG_CALL, complain

if TYPE_CHECKING:
    from semscale_pl.tables.engine import TableResult
    from semscale_pl.tables.jobs import Cluster

USAGE = """usage: semscale table FILE [KEY=VALUE ...]

  FILE                    a table's YAML, or the name of one in experiments/
  profile=NAME            one of the file's profiles
  jobs=2                  worker processes, one thread each; with submitit, jobs at a time
  seeds=0,1,2             instead of the file's
  submitit=local|slurm    run each cell as a job; submitit.KEY=VALUE says what a job asks for: partition, timeout
                          (minutes), gpus, cpus, mem_gb, or any other option of Slurm
  runs=runs/tables        where cells are kept; finished ones are not run again
  out=FOLDER              where the table goes; runs/tables/NAME unless given
  publish=true            also copy table and cells to experiments/results/
  KEY=VALUE               any other override of `semscale train`, for every cell; logger=wandb sends each to W&B

Exit code 0: done, also where a dataset is absent and the table says so; 1: a cell failed; 2: wrong call;
130: interrupted, the same command goes on.
"""
_OWN = ("profile", "jobs", "seeds", "runs", "out", "publish", "submitit")
_MOST_JOBS = 1024


@dataclass(frozen=True)
class TableCall:
    """A checked call."""

    profile: str | None = None
    jobs: int = 2
    seeds: tuple[int, ...] = ()
    runs: Path = Path("runs/tables")
    out: Path | None = None
    publish: bool = False
    overrides: tuple[str, ...] = ()
    cluster: Cluster | None = None


def main(argv: Sequence[str]) -> int:
    """Run a table.

    Args:
        argv: file and settings, see ``semscale table --help``.

    Returns:
        0 done, 1 a cell failed, 2 wrong call, 130 interrupted.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return OK if argv else WRONG_CALL
    try:
        call = parse(argv[1:])
        return execute(find_table(argv[0]), call)
    except ValueError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished cells are kept; the same command goes on from there.\n")
        return INTERRUPTED


def execute(file: Path, call: TableCall, figure: str = "figure.png", shown: Sequence[str] = ()) -> int:
    """Run a table's missing cells, print the table beside the published one and save it.

    Args:
        file: the table's YAML.
        call: the settings.
        figure: name of the picture.
        shown: rows whose class accuracies the picture shows.

    Returns:
        0, or 1 where a cell failed.

    Raises:
        ValueError: the table or a setting is wrong; nothing was run.
    """
    from semscale_pl.tables.engine import print_table, run_table, save_table
    from semscale_pl.tables.publishing import RESULTS, find_published, with_published
    from semscale_pl.tables.schema import checked_seeds, load_table

    table = load_table(file, call.profile)
    if call.seeds:
        table = replace(table, seeds=checked_seeds(call.seeds))
    published = find_published(table, [file.parent / "results"])
    result = run_table(table, call.runs, jobs=call.jobs, overrides=call.overrides, cluster=call.cluster)
    # The table must say what ran.
    table = replace(table, base=(*table.base, *call.overrides))
    result = replace(result, summary=replace(result.summary, table=table))
    shown_result = replace(result, summary=with_published(result.summary, published))
    print_table(shown_result)
    folder = call.out or call.runs / table.full_name
    save_table(shown_result, folder)
    _draw(result, folder, figure, shown)
    sys.stdout.write(f"Saved under {folder}\n")
    if result.failures:
        return FAILED
    if call.publish:
        from semscale_pl.tables.publishing import publish

        sys.stdout.write(f"Published under {publish(result, RESULTS)}\n")
    return OK


def _draw(result: TableResult, folder: Path, figure: str, shown: Sequence[str]) -> None:
    """Draw the pictures, unless those that are there show these very cells: matplotlib takes seconds to import."""
    from semscale_pl.files import write_text

    if not figure:
        return
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


def parse(arguments: Sequence[str]) -> TableCall:
    """Split a call into the engine's settings and the overrides of ``train``.

    Raises:
        ValueError: an argument is not KEY=VALUE, or a value is out of range.
    """
    own: dict[str, str] = {}
    settings: dict[str, str] = {}
    overrides = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            raise ValueError(f"Expected KEY=VALUE, but got {argument!r}. See `semscale table --help`.")
        if key in ("seed", "+seed"):
            raise ValueError("Expected the seeds of a table as seeds=0,1,2, but got seed=.")
        if key.startswith("submitit."):
            settings[key.removeprefix("submitit.")] = value
        elif key in _OWN:
            own[key] = value
        else:
            overrides.append(argument)
    cluster = _cluster(own.get("submitit"), settings)
    # A cluster's queue takes what it can; this machine's processes share its cores.
    jobs = str(_MOST_JOBS) if cluster is not None and cluster.kind == "slurm" else "2"
    return TableCall(
        profile=own.get("profile"),
        jobs=_jobs(own.get("jobs", jobs)),
        seeds=_seeds(own.get("seeds", "")),
        runs=Path(own.get("runs", "runs/tables")),
        out=Path(own["out"]) if "out" in own else None,
        publish=_flag(own.get("publish", "false")),
        overrides=tuple(overrides),
        cluster=cluster,
    )


def _cluster(kind: str | None, settings: dict[str, str]) -> Cluster | None:
    from semscale_pl.tables.jobs import Cluster, check_cluster

    if kind is None:
        if settings:
            raise ValueError(f"Expected submitit=local or slurm beside submitit.{next(iter(settings))}=.")
        return None
    cluster = Cluster(kind, {key: int(text) if text.isdigit() else text for key, text in settings.items()})
    check_cluster(cluster)
    return cluster


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_JOBS:
        raise ValueError(f"Expected `jobs` to be a number from 1 to {_MOST_JOBS}, but got {text!r}.")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.strip("[]").split(",")] if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"Expected `seeds` to be numbers such as 0,1,2, but got {text!r}.")
    return tuple(int(part) for part in parts)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"Expected `publish` to be true or false, but got {text!r}.")
    return text.lower() == "true"
