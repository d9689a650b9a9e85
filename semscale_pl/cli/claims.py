"""`semscale claims [out=FILE] [results=FOLDER]`: judge the paper's claims by what was published, and write the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semscale_pl.cli.command import Call, Command, Setting, existing_folder, new_folder
from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import OK


def markdown(key: str, text: str) -> Path:
    """Read the path of a page to write; ValueError where its ending is not .md, or its folder is none."""
    path = Path(text)
    if path.suffix != ".md" or path.is_dir():
        raise ValueError(f"Expected `{key}` to be a file's name that ends in .md, but got {text!r}.")
    new_folder(f"folder of {key}", str(path.parent))
    return path


COMMAND = Command(
    name="claims",
    usage=["[out=FILE] [results=FOLDER]"],
    settings={
        "Judges each claim of experiments/claims.yaml by the intervals of published results.": [
            Setting(
                "out", "the page, such as docs/claims.md; only printed unless given", shown="FILE.md", read=markdown
            ),
            Setting("results", "of results; experiments/results unless given", shown="FOLDER", read=existing_folder),
        ]
    },
    may_be_bare=True,
)


def main(argv: Sequence[str]) -> int:
    """Judge the claims: 0 done, 2 wrong call or damaged result, 130 interrupted."""
    return COMMAND.run(argv, execute)


def execute(call: Call) -> int:
    """Print a line a claim, and write the page where that is asked for."""
    from semscale_pl.claims.definition import load_claims
    from semscale_pl.claims.page import judge, lines, page
    from semscale_pl.files import write_text

    judged = judge(load_claims(), call.results or experiments_dir() / "results")
    if call.out:
        write_text(call.out, page(judged))
    sys.stdout.writelines(f"{line}\n" for line in lines(judged))
    if call.out:
        sys.stdout.write(f"Saved {call.out}\n")
    return OK
