"""Run a study, with its trainings; keep its result with where it comes from, draw it, and publish both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from semscale_pl.files import copy_file, strict, write_json
from semscale_pl.progress import Progress as ProgressDisplay
from semscale_pl.studies.description import Study
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.schema import parse_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


RESULT = "result.json"
PICTURE = "figure.png"
Progress = Callable[[str], None]
Item = TypeVar("Item")


class StudyFailedError(RuntimeError):
    """A study could not be finished; the message says what failed, and what is kept."""


def run_study(study: Study, folder: Path, jobs: int, progress: Progress) -> Path:
    """Run a study and write its result and its figure.

    Args:
        study: what to run.
        folder: of the study; it may hold what an earlier call has already computed.
        jobs: worker processes for studies that train.
        progress: is told in a line how far the study is.

    Returns:
        The folder, with ``result.json`` and ``figure.png``.

    Raises:
        ValueError: an argument is wrong.
        StudyFailedError: a training failed.
    """
    from semscale_pl.figures.style import save_figure

    started = time.perf_counter()
    result = strict(function_of(study.study)(study.arguments, folder, jobs, progress))
    record = {
        "name": study.name,
        "title": study.title,
        "arguments": study.arguments,
        "note": study.note,
        "figure": study.figure,
        "provenance": {**_origin(), "seconds": time.perf_counter() - started},
        "result": result,
    }
    # The figure first: the record's presence then means that both are there.
    save_figure(draw(study.figure, result), folder / PICTURE)
    return write_json(folder / RESULT, record).parent


def draw(figure: str, result: Mapping[str, Any]) -> Figure:
    """Draw a stored result.

    Args:
        figure: ``module:function``, as in the study's file and in its record.
        result: the entry ``result`` of a record.
    """
    drawn: Figure = function_of(figure)(result)
    return drawn


def publish_study(study: Study, folder: Path, results: Path, images: Path) -> tuple[Path, Path]:
    """Copy a study's result and figure to where they are kept under version control.

    Args:
        study: that was run.
        folder: with its files.
        results: folder of all published results.
        images: folder of the documentation's pictures.

    Returns:
        The two files.
    """
    record, picture = results / study.name / RESULT, images / f"{study.name}.png"
    return copy_file(folder / RESULT, record), copy_file(folder / PICTURE, picture)


def read_result(path: Path) -> dict[str, Any]:
    """Read a study's record.

    Args:
        path: of ``result.json``.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or "result" not in content:
        raise ValueError(f"Expected the record of a study at {str(path)!r}, but found none. Run `semscale study NAME`.")
    return content


def tracked(items: Iterable[Item], total: int, progress: Progress, what: str = "step") -> Iterator[Item]:
    """Pass items on and report after each how many are done and how long the rest will take.

    Args:
        items: to pass on.
        total: their number.
        progress: where to report.
        what: one item is.
    """
    display = ProgressDisplay(f"{what} {{}}")
    for done, item in enumerate(items, start=1):
        yield item
        progress(display.describe(done, total))


def function_of(path: str) -> Any:
    """Import ``module:function``.

    Raises:
        ValueError: there is no such module or function.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"Expected {path!r} to be 'module:function', but: {error}.") from None


def _origin() -> dict[str, Any]:
    import torch

    from semscale_pl.training.provenance import commit, device_name, versions

    return {"versions": versions(), "commit": commit(), "device": device_name(torch.device("cpu"))}


_ACCURACY = {"name": "accuracy", "key": "results.last.top1"}


@dataclass(frozen=True)
class Training:
    """A finished training.

    Args:
        row: of the table.
        seed: of the training.
        record: its ``metrics.json``.
        folder: its run folder.
    """

    row: str
    seed: int
    record: Mapping[str, Any]
    folder: Path

    @property
    def origin(self) -> dict[str, Any]:
        """What names the training in a result: its place, subset, commit and seconds."""
        return {
            "row": self.row,
            "seed": self.seed,
            "index_hash": self.record.get("index_hash"),
            "commit": self.record.get("provenance", {}).get("commit"),
            "seconds": self.record.get("cost", {}).get("seconds"),
        }


def trained(content: Mapping[str, Any], folder: Path, jobs: int) -> list[Training]:
    """Train what is missing of a table.

    Args:
        content: as in a table's YAML; ``measures`` may be left out.
        folder: of the study; the trainings go into ``cells/`` there.
        jobs: worker processes of one thread each.

    Returns:
        All of its trainings.

    Raises:
        ValueError: a config is wrong; nothing was trained.
        StudyFailedError: a training failed; the finished ones are kept.
    """
    result = run_table(parse_table({"measures": [_ACCURACY], **content}), folder / "cells", jobs=jobs)
    if result.failures:
        label, error = next(iter(result.failures.items()))
        raise StudyFailedError(
            f"{len(result.failures)} of {len(result.runs)} trainings failed, first {label}: {error}. The others are "
            "kept; the same command goes on from there."
        )
    return [Training(run.cell.row, run.cell.seed, run.metrics() or {}, run.folder) for run in result.runs]
