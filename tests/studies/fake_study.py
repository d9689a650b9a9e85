"""A study that takes no time, or fails as its arguments say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semscale_pl.figures.style import new_figure
from semscale_pl.studies.running import StudyFailedError, tracked


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    if arguments["ending"] == "failed":
        raise StudyFailedError("1 of 2 trainings failed")
    if arguments["ending"] == "wrong":
        raise ValueError("Expected `ending` to be good.")
    if arguments["ending"] == "interrupted":
        raise KeyboardInterrupt
    if arguments["ending"] == "broken":
        raise RuntimeError("a fault of ours")
    squares = [value**2 for value in tracked(arguments["values"], len(arguments["values"]), progress, "value")]
    return {"squares": squares, "undefined": float("nan"), "jobs": jobs}


def draw(result: Mapping[str, Any]) -> Any:
    figure, (ax,) = new_figure(2, 2)
    ax.plot(result["squares"])
    return figure
