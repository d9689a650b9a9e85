"""Closest matches for mistyped names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean `x`?", or nothing where no choice is near.

    Example:
        >>> did_you_mean("trian", ["train", "evaluate"])
        ' Did you mean `train`?'
        >>> did_you_mean("qqq", ["train", "evaluate"])
        ''
    """
    near = get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield every key of nested mappings as a dotted path.

    Example:
        >>> list(dotted_keys({"trainer": {"devices": 1}, "seed": 0}))
        ['trainer', 'trainer.devices', 'seed']
    """
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        path = f"{prefix}{key}"
        yield path
        yield from dotted_keys(value, f"{path}.")


def closest_key(name: str, keys: Iterable[str]) -> str:
    """Return the suggestion for a mistyped dotted key: the whole path, or the same last part elsewhere."""
    known = list(keys)
    whole = did_you_mean(name, known)
    if whole:
        return whole
    last = name.rsplit(".", 1)[-1]
    elsewhere = [key for key in known if key.rsplit(".", 1)[-1] == last]
    return f" Did you mean `{elsewhere[0]}`?" if elsewhere else ""
