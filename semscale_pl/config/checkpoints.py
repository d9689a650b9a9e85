"""Which checkpoint a path means: itself, or where it is the folder of a run the one that a command is for."""

from __future__ import annotations

from pathlib import Path

LAST, FINISHED = "last.ckpt", "recipe.ckpt"


def last_checkpoint(key: str, text: str) -> Path:
    """Return a checkpoint; of the folder of a run the one as trained, or where that is not there with another head.

    Raises:
        ValueError: there is none.
    """
    return _meant(key, text, (LAST, FINISHED))


def finished_checkpoint(key: str, text: str) -> Path:
    """Return a checkpoint; of the folder of a run the one of the results: with the head of a second stage, if any.

    Raises:
        ValueError: there is none.
    """
    return _meant(key, text, (FINISHED, LAST))


def _meant(key: str, text: str, names: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.is_file():
        return path
    for name in names:
        for file in (path / "checkpoints" / name, path / name):
            if file.is_file():
                return file
    found = f"the folder {text!r} holds no checkpoints/{LAST}" if path.is_dir() else f"there is none at {text!r}"
    raise ValueError(f"Expected `{key}` to be a checkpoint or the folder of a run, but {found}. Name another one.")
