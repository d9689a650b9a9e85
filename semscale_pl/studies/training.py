"""Trainings of a study: cells of a table, so that finished ones are kept and an interrupted study goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale_pl.studies.running import StudyFailedError
from semscale_pl.tables.cells import parse_table
from semscale_pl.tables.engine import run_table

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
