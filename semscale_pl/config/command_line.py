"""A command line to type: the program as it was called, and settings quoted for Hydra and for the shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# What Hydra reads as it stands: with a slash it is neither a number nor one of the words for nothing, true and false.
_PLAIN = re.compile(r"[\w./-]*/[\w./-]*", re.ASCII)


def to_type(command: str, arguments: Sequence[str]) -> str:
    """Return the line that calls a command of this program with arguments as Hydra or the command reads them.

    Example:
        >>> print(to_type("train", ["seed=1", "hydra.run.dir='runs/my run'"]).partition(" train ")[2])
        seed=1 "hydra.run.dir='runs/my run'"
    """
    return " ".join([*map(shlex.quote, program()), command, *map(in_shell, arguments)])


def program() -> list[str]:
    """Return what to type before a command: `semscale`, or the interpreter where it was called as a module."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" or not called.is_file():
        found = shutil.which("python")
        is_same = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
        return ["python" if is_same else sys.executable, "-m", "semscale_pl"]
    found = shutil.which(called.name)
    return [called.name if found is not None and os.path.samefile(found, called) else str(called)]


def setting(key: str, value: str) -> str:
    """Return ``key=value``, the value quoted where Hydra needs it.

    Example:
        >>> setting("ckpt_path", "runs/one/last.ckpt"), setting("hydra.run.dir", "runs/my run")
        ('ckpt_path=runs/one/last.ckpt', "hydra.run.dir='runs/my run'")
    """
    return f"{key}={value if _PLAIN.fullmatch(value) else quoted(value)}"


def shown(path: Path) -> str:
    """Return a path as it is typed in the present folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path != here and path.is_relative_to(here) else str(path)


def quoted(text: str) -> str:
    """Quote a value for Hydra's override grammar.

    Example:
        >>> quoted("runs/a=1,b")
        "'runs/a=1,b'"
    """
    # Hydra reads a backslash as itself, except before a quote.
    return "'" + re.sub(r"(\\*)(\'|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def in_shell(argument: str) -> str:
    """Quote for a shell; around the single quotes of Hydra by double ones, which read better than the alternative."""
    if "'" in argument and not set(argument) & set('"$`\\!'):
        return f'"{argument}"'
    return shlex.quote(argument)
