"""KEY=VALUE settings of the commands that read their own, checked one value at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

_FLAGS = {"true": True, "false": False}


def split_settings(arguments: Sequence[str], own: Iterable[str], command: str) -> tuple[dict[str, str], list[str]]:
    """Part a command's own settings from the overrides of a configuration.

    Args:
        arguments: ``KEY=VALUE`` each.
        own: keys of the command.
        command: for the message.

    Returns:
        The own settings, and the other arguments as they came.

    Raises:
        ValueError: an argument is not KEY=VALUE, or one of the own comes twice.

    Example:
        >>> split_settings(["seed=1", "dataset=mnist"], ("seed",), "measure")
        ({'seed': '1'}, ['dataset=mnist'])
    """
    keys, settings, overrides = set(own), {}, []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            raise ValueError(f"Expected KEY=VALUE, but got {argument!r}. See `semscale {command} --help`.")
        if key in settings:
            raise ValueError(f"Expected `{key}` once, but got it twice.")
        if key in keys:
            settings[key] = value
        else:
            overrides.append(argument)
    return settings, overrides


def whole(key: str, text: str, least: int) -> int:
    """Read a whole number.

    Raises:
        ValueError: it is none, or below ``least``.
    """
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= 10**12:
        raise ValueError(f"Expected `{key}` to be a whole number of at least {least}, but got {text!r}.")
    return int(text)


def number(
    key: str, text: str, *, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> float:
    """Read a finite number.

    Args:
        key: for the message.
        text: as typed.
        above: the number has to be larger.
        least: the smallest that is allowed.
        below: the number has to be smaller.

    Raises:
        ValueError: it is none, or out of range.

    Example:
        >>> number("level", "0.9", above=0.0, below=1.0)
        0.9
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (above < value < below and value >= least and math.isfinite(value)):
        bounds = [f"above {above:g}"] if above > -math.inf else [f"of at least {least:g}"] if least > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        raise ValueError(f"Expected `{key}` to be a number {' and '.join(bounds)}, but got {text!r}.")
    return value


def flag(key: str, text: str) -> bool:
    """Read true or false.

    Raises:
        ValueError: it is neither.
    """
    if text.lower() not in _FLAGS:
        raise ValueError(f"Expected `{key}` to be true or false, but got {text!r}.")
    return _FLAGS[text.lower()]


def choice(key: str, text: str, options: Sequence[str]) -> str:
    """Read one of several words.

    Raises:
        ValueError: it is another one.
    """
    if text not in options:
        raise ValueError(f"Expected `{key}` to be one of {', '.join(options)}, but got {text!r}.")
    return text


def existing_file(key: str, text: str) -> Path:
    """Read the path of a file.

    Raises:
        ValueError: there is none.
    """
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"Expected `{key}` to be a file, but there is no {text!r}.")
    return path


def existing_folder(key: str, text: str) -> Path:
    """Read the path of a folder.

    Raises:
        ValueError: there is none.
    """
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"Expected `{key}` to be a folder, but there is none at {text!r}.")
    return path


def new_folder(key: str, text: str) -> Path:
    """Read the path of a folder to write in, which need not be there yet.

    Raises:
        ValueError: a file stands in its place or in that of a folder above it, or nothing may be written there.
    """
    path = Path(text)
    there = next(place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        raise ValueError(f"Expected `{key}` to be a folder, but {str(there)!r} is a file. Name another one.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"Expected to write in `{key}`, but {str(there)!r} does not allow it. Name another one.")
    return path
