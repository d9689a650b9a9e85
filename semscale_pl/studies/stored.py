"""What can be drawn again from a folder of published results, studies and tables alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.studies.description import RESULT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = "-classes"


def stored_figures(results: Path) -> list[str]:
    """Return the names of what can be drawn from a folder of results."""
    studies = [path.parent.name for path in results.glob(f"*/{RESULT}")]
    tables = [path.parent.name for path in results.glob("*/table.json")]
    classes = [f"{name}{CLASSES}" for name in tables if (results / name / "cells.json").is_file()]
    return sorted([*studies, *tables, *classes])


def draw_stored(name: str, results: Path) -> Figure:
    """Draw one of :func:`stored_figures`.

    Raises:
        ValueError: its file is damaged.
    """
    if (results / name / RESULT).is_file():
        from semscale_pl.studies.running import draw, read_result

        record = read_result(results / name / RESULT)
        return draw(record["figure"], record["result"])
    from semscale_pl.tables.pictures import draw_classes, draw_table

    if (results / name).is_dir():
        return draw_table(results / name)
    return draw_classes(results / name.removesuffix(CLASSES))
