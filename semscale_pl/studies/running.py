"""Run a study, with its trainings; keep its result with where it comes from, draw it, and publish both."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.figures.style import save_figure
from semscale_pl.files import copy_file, strict, write_json
from semscale_pl.geometry import pool_features
from semscale_pl.progress import Progress
from semscale_pl.statistics import holm
from semscale_pl.studies.description import RESULT, Study
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.schema import parse_table
from semscale_pl.training.provenance import commit, device_name, versions

PICTURE = "figure.png"
Report = Callable[[str], None]
Item = TypeVar("Item")
# Results and files from before a study was one module name its parts like this.
_FORMER = re.compile(r"semscale_pl\.(?:figures|studies)\.(\w+):(?:draw|run)")


class StudyFailedError(RuntimeError):
    """A study could not be finished; the message says what failed, and what is kept."""


def run_study(study: Study, folder: Path, jobs: int, progress: Report) -> Path:
    """Run a study and write ``result.json`` and ``figure.png`` to its folder, which is returned.

    Folder, jobs and progress are handed on to the study's own ``run``; one that keeps or trains nothing ignores them.

    Args:
        folder: it may hold what an earlier call has already computed, such as trainings.
        jobs: worker processes for studies that train.
        progress: receives a line on how far the study is.

    Raises:
        ValueError: an argument is wrong.
        StudyFailedError: a training failed; the finished ones are kept.
    """
    started = time.perf_counter()
    result = strict(function_of(study.study, "run")(study.arguments, folder, jobs, progress))
    origin = {"versions": versions(), "commit": commit(), "device": device_name(torch.device("cpu"))}
    record = {
        **{key: getattr(study, key) for key in ("name", "title", "arguments", "note", "figure")},
        "provenance": {**origin, "seconds": time.perf_counter() - started},
        "result": result,
    }
    # The figure first: the record's presence then means that both are there.
    save_figure(draw(study.figure, result), folder / PICTURE)
    return write_json(folder / RESULT, record).parent


def draw(figure: str, result: Mapping[str, Any]) -> Figure:
    """Draw a stored result.

    Args:
        figure: the study's name or ``module:function``, as in its record.
        result: the entry ``result`` of a record.
    """
    return function_of(figure, "draw")(result)


def publish_study(study: Study, folder: Path, results: Path, images: Path) -> tuple[Path, Path]:
    """Copy a study's result and figure from its folder to those under version control; return the two files."""
    record, picture = results / study.name / RESULT, images / f"{study.name}.png"
    return copy_file(folder / RESULT, record), copy_file(folder / PICTURE, picture)


def read_result(path: Path) -> dict[str, Any]:
    """Read a study's record, a ``result.json``.

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


def tracked(items: Iterable[Item], total: int, progress: Report, what: str = "step") -> Iterator[Item]:
    """Pass items on and report after each how many are done and how long the rest will take; an item is a ``what``."""
    display = Progress(f"{what} {{}}")
    for done, item in enumerate(items, start=1):
        yield item
        progress(display.describe(done, total))


@dataclass(frozen=True)
class Training:
    """A finished training: its row and seed in a table, its record ``metrics.json`` and its run folder."""

    row: str
    seed: int
    record: Mapping[str, Any]
    folder: Path

    @property
    def origin(self) -> dict[str, Any]:
        """What identifies the training in a result."""
        return {
            "row": self.row,
            "seed": self.seed,
            "index_hash": self.record.get("index_hash"),
            "commit": self.record.get("provenance", {}).get("commit"),
            "seconds": self.record.get("cost", {}).get("seconds"),
        }


def trained(content: Mapping[str, Any], folder: Path, jobs: int) -> list[Training]:
    """Train what is missing of a table, and return all of its trainings.

    Args:
        content: as in a table's YAML, without ``measures``.
        folder: of the study; the trainings go into ``cells/`` there.
        jobs: worker processes of one thread each.

    Raises:
        ValueError: a config is wrong; nothing was trained.
        StudyFailedError: a training failed; the finished ones are kept.
    """
    accuracy = {"name": "accuracy", "key": "results.last.top1"}
    result = run_table(parse_table({**content, "measures": [accuracy]}), folder / "cells", jobs=jobs)
    if result.failures:
        label, error = next(iter(result.failures.items()))
        raise StudyFailedError(
            f"{len(result.failures)} of {len(result.runs)} trainings failed, first {label}: {error}. The others are "
            "kept; the same command goes on from there."
        )
    return [Training(run.cell.row, run.cell.seed, run.metrics() or {}, run.folder) for run in result.runs]


def data_folder() -> Path:
    """Return the folder of the datasets."""
    return Path(os.environ.get("SEMSCALE_DATA", "data"))


def run_features(checkpoint: Path, split: str = "train") -> tuple[Tensor, Tensor]:
    """Pass the images of a run's split, ``train`` or ``test``, in evaluation mode through its model.

    Returns:
        Features (N, d), the classifier's input, averaged down to 64 where there are more, and labels (N,).
    """
    from semscale_pl.training.building import build_datamodule
    from semscale_pl.training.restoring import restore

    restored = restore(checkpoint)
    datamodule = build_datamodule(restored.config)
    loader = datamodule.eval_train_dataloader() if split == "train" else datamodule.test_dataloader()
    with torch.no_grad():
        batches = [(pool_features(restored.module.features(batch[0])), batch[1]) for batch in loader]
    features, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    return features, labels


def adjust_p_values(differences: Sequence[dict[str, Any]]) -> None:
    """Add ``holm`` to each of the paired differences of one family of tests, unless one has no p-value."""
    p_values = [difference["p_value"] for difference in differences]
    if None not in p_values:
        for difference, p_value in zip(differences, holm(p_values), strict=True):
            difference["holm"] = p_value


def function_of(reference: str, role: str) -> Any:
    """Import a study's function.

    Args:
        reference: a study's name, ``module:function``, or what was called ``semscale_pl.figures.NAME:draw``.
        role: ``run`` or ``draw``.

    Raises:
        ValueError: there is no such module or function.
    """
    former = _FORMER.fullmatch(reference)
    module, sign, name = (former[1] if former else reference).partition(":")
    try:
        return getattr(import_module(module), name) if sign else getattr(import_module(f"{__package__}.{module}"), role)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"Expected {reference!r} to be a study or 'module:function', but: {error}.") from None
