"""Advice in the options of the command that gives it: what `semscale train` calls dataset.root is root in evaluate."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from semscale_pl.config.composing import composed_from, config_dir, config_groups


def in_words_of(message: str, keys: Collection[str]) -> str:
    """Return a message whose options of `semscale train` are those of a command that has other ones.

    An option that the command has under its last part gets that name; whose the others are stands at the end.

    Args:
        keys: all options of the command, dotted.

    Example:
        >>> in_words_of("Put it there (dataset.root).", {"root"})
        'Put it there (root).'
        >>> in_words_of("Lower `optimizer.lr`.", {"root"})
        'Lower `optimizer.lr`. (An option of `semscale train`: optimizer.lr.)'
    """
    foreign: list[str] = []

    def renamed(found: re.Match[str]) -> str:
        option = found.group()
        last = option.rpartition(".")[2]
        if option in keys or last in keys:
            return option if option in keys else last
        foreign.append(option)
        return option

    text = options_named(config_groups()).sub(renamed, message)
    listed = ", ".join(dict.fromkeys(foreign))
    return f"{text} (An option of `semscale train`: {listed}.)" if listed else text


def options_named(groups: Collection[str]) -> re.Pattern[str]:
    """Return what finds the dotted options of some groups in a message."""
    names = "|".join(sorted(groups))
    return re.compile(rf"(?<![\w./])(?:{names})(?:\.[a-z][a-z0-9_]*)+(?![\w/(])")


def training_options() -> set[str]:
    """Return the dotted options that a training can have, whatever is chosen in its groups."""
    found = {*_dotted(OmegaConf.to_container(composed_from("train"), resolve=False)), *config_groups()}
    for group in config_groups():
        for file in (config_dir() / group).glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            # Some files hold whole paths, not those below their group.
            top = "" if "@package _global_" in text else f"{group}."
            found |= {f"{top}{key}" for key in _dotted(OmegaConf.to_container(OmegaConf.create(text)))}
    return found


def _dotted(tree: Any) -> Sequence[str]:
    if not isinstance(tree, Mapping):
        return []
    return [path for key, value in tree.items() for path in (str(key), *(f"{key}.{rest}" for rest in _dotted(value)))]
