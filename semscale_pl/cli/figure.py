"""`semscale figure NAME [out=FILE] [results=FOLDER]`: draw a figure again from stored results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semscale_pl.cli.command import Call, Command, Setting, existing_folder, new_folder
from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import OK, did_you_mean
from semscale_pl.studies.stored import draw_stored, stored_figures

ENDINGS = (".png", ".pdf", ".svg")


def picture(key: str, text: str) -> Path:
    """Read the path of a picture to write; ValueError where its ending is not that of one, or its folder is none."""
    path = Path(text)
    if path.suffix not in ENDINGS:
        raise ValueError(f"Expected `{key}` to end in .png, .pdf or .svg, but got {text!r}.")
    if path.is_dir():
        raise ValueError(f"Expected `{key}` to be a file, but {text!r} is a folder. Name a file in it.")
    new_folder(f"folder of {key}", str(path.parent))
    return path


COMMAND = Command(
    name="figure",
    usage=["NAME [out=FILE] [results=FOLDER]"],
    settings={
        "": [
            ("NAME", "a stored result; NAME-classes draws n, S and accuracy of a table's classes; list: all names"),
            Setting("out", ".png, .pdf or .svg; NAME.png unless given", shown="FILE", read=picture),
            Setting("results", "of results; experiments/results unless given", shown="FOLDER", read=existing_folder),
        ]
    },
    argument="NAME",
    may_be_bare=True,
    reported=(OSError,),
)


def main(argv: Sequence[str]) -> int:
    """Draw one figure, or list what can be drawn: 0 done, 2 wrong call or damaged result, 130 interrupted."""
    return COMMAND.run(argv, execute)


def execute(call: Call) -> int:
    """Draw a stored result, or list the names of all; ValueError where there is none or its file is damaged."""
    results = call.results or experiments_dir() / "results"
    names = stored_figures(results)
    if call.name in ("", "list"):
        sys.stdout.write("".join(f"{known}\n" for known in names))
        return OK
    if call.name not in names:
        hint = did_you_mean(call.name, names)
        raise ValueError(f"Expected a stored figure, but got {call.name!r}.{hint} See `semscale figure list`.")
    from semscale_pl.figures.style import save_figure

    out = call.out or Path(f"{call.name}.png")
    sys.stdout.write(f"Saved {save_figure(draw_stored(call.name, results), out)}\n")
    return OK
