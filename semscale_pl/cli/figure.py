"""`semscale figure NAME [out=FILE] [results=FOLDER]`: draw a figure again from stored results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import INTERRUPTED, OK, complain, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USAGE = """usage: semscale figure NAME [out=FILE] [results=FOLDER]

  NAME                    a stored result; NAME-classes draws n, S and accuracy of a table's classes; list: all names
  out=FILE                .png, .pdf or .svg; NAME.png unless given
  results=FOLDER          of results; experiments/results unless given
"""
ENDINGS = (".png", ".pdf", ".svg")
CLASSES = "-classes"


def main(argv: Sequence[str]) -> int:
    """Draw one figure, or list what can be drawn.

    Args:
        argv: name and settings, see ``semscale figure --help``.

    Returns:
        0 done, 2 wrong call or damaged result, 130 interrupted.
    """
    if argv and argv[0] in ("--help", "-h", "help"):
        sys.stdout.write(USAGE)
        return OK
    try:
        name, out, results = parse(argv)
        names = stored_figures(results)
        if name == "list":
            sys.stdout.write("".join(f"{known}\n" for known in names))
            return OK
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(f"Expected a stored figure, but got {name!r}.{hint} See `semscale figure list`.")
        from semscale_pl.figures.style import save_figure

        sys.stdout.write(f"Saved {save_figure(draw_stored(name, results), out)}\n")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except (ValueError, OSError) as error:
        return complain(str(error))
    return OK


def parse(argv: Sequence[str]) -> tuple[str, Path, Path]:
    """Split a call into the figure's name (``list`` without one), the file to write and the folder of results.

    Raises:
        ValueError: a setting is unknown, there are two names, or the file's ending is not one of a picture.
    """
    names = [argument for argument in argv if "=" not in argument]
    settings = dict(argument.split("=", 1) for argument in argv if "=" in argument)
    if len(names) > 1:
        raise ValueError(f"Expected one name, but got {' '.join(names)!r}. See `semscale figure --help`.")
    for key in settings:
        if key not in ("out", "results"):
            raise ValueError(f"Expected out= or results=, but got {key!r}.{did_you_mean(key, ('out', 'results'))}")
    name = names[0] if names else "list"
    out = Path(settings.get("out", f"{name}.png"))
    if out.suffix not in ENDINGS:
        raise ValueError(f"Expected `out` to end in .png, .pdf or .svg, but got {str(out)!r}.")
    results = Path(settings["results"]) if "results" in settings else experiments_dir() / "results"
    if not results.is_dir():
        raise ValueError(f"Expected `results` to be a folder, but got {str(results)!r}.")
    return name, out, results


def stored_figures(results: Path) -> list[str]:
    """Return the names of what can be drawn from a folder of results."""
    studies = [path.parent.name for path in results.glob("*/result.json")]
    tables = [path.parent.name for path in results.glob("*/table.json")]
    classes = [f"{name}{CLASSES}" for name in tables if (results / name / "cells.json").is_file()]
    return sorted([*studies, *tables, *classes])


def draw_stored(name: str, results: Path) -> Figure:
    """Draw a stored result.

    Args:
        name: one of :func:`stored_figures`.
        results: folder of results.

    Raises:
        ValueError: its file is damaged.
    """
    from semscale_pl.studies.running import RESULT, draw, read_result
    from semscale_pl.tables.pictures import draw_classes, draw_table

    if (results / name / RESULT).is_file():
        record = read_result(results / name / RESULT)
        return draw(record["figure"], record["result"])
    return draw_table(results / name) if (results / name).is_dir() else draw_classes(results / name[: -len(CLASSES)])
