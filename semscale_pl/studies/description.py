"""What a study consists of: its module, its title and its arguments, read from YAML with one profile applied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import did_you_mean

RESULT = "result.json"
_KEYS = {"study", "figure", "title", "arguments", "profiles", "default_profile", "note"}
# YAML takes 1e-3 for a word.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Study:
    """A study ready to run.

    Args:
        name: of its results: the file's, followed by the profile where that is not the default one.
        title: for people.
        study: name of a module of :mod:`semscale_pl.studies` with ``run(arguments, folder, jobs, progress)``, which
            returns plain data, and ``draw(result)``, which returns a matplotlib figure; or ``module:function`` of the
            first.
        figure: the same name, or ``module:function`` of the second.
        arguments: of ``run``.
        profile: the profile that was applied, or empty.
        note: conditions that a reader of the result has to know.
    """

    name: str
    title: str
    study: str
    figure: str
    arguments: Mapping[str, Any]
    profile: str = ""
    note: str = ""


def is_study(path: Path) -> bool:
    """Tell a study's YAML from a table's."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(content, Mapping) and "study" in content


def known_studies() -> list[str]:
    """Return the names of the studies in experiments/."""
    return sorted(path.stem for path in experiments_dir().glob("*.yaml") if is_study(path))


def find_study(name: str) -> Path:
    """Return the file that a name means: a path, or an entry of experiments/.

    Raises:
        ValueError: there is no such file, or it describes no study.
    """
    path = Path(name)
    bundled = experiments_dir() / f"{path.stem}.yaml"
    path = bundled if not path.is_file() and bundled.is_file() else path
    if not path.is_file():
        known = known_studies()
        raise ValueError(
            f"Expected a study's name or YAML file, but got {name!r}.{did_you_mean(name, known)} "
            f"Studies: {', '.join(known)}."
        )
    return path


def load_study(path: str | Path, profile: str | None = None, changes: Sequence[str] = ()) -> Study:
    """Read a study from YAML.

    Args:
        path: the file; see ``experiments/bunny.yaml``.
        profile: name of one of the file's ``profiles``, whose arguments replace the file's own; None takes its
            ``default_profile``, or the file as it is.
        changes: ``KEY=VALUE`` of single arguments; they come last.

    Raises:
        ValueError: the file is missing or misses something, or there is no such profile or argument.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"Expected a study's YAML file, but there is no {str(file)!r}. See experiments/.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"Expected {str(file)!r} to be YAML, but got: {' '.join(str(error).split())}") from None
    _check(content, file)
    reference, default = str(content["study"]), content.get("default_profile")
    chosen = profile or default
    profiles = content.get("profiles") or {}
    if chosen is not None and chosen not in profiles:
        raise ValueError(f"Expected `profile` to be one of {sorted(profiles)}, but got {chosen!r}.")
    arguments = {**(content.get("arguments") or {}), **(profiles.get(chosen) or {})}
    return Study(
        name=file.stem if chosen in (None, default) else f"{file.stem}-{chosen}",
        title=str(content.get("title", file.stem)),
        study=reference,
        figure=str(content.get("figure", f"{reference.partition(':')[0]}:draw" if ":" in reference else reference)),
        arguments=changed(arguments, changes),
        profile=str(chosen or ""),
        note=" ".join(str(content.get("note", "")).split()),
    )


def changed(arguments: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Apply ``KEY=VALUE`` settings to a study's arguments.

    Args:
        arguments: as in the file; they say which keys there are and which of them are lists.
        changes: settings, their values read as YAML; ``sizes=1,2`` gives a list where the file has one.

    Raises:
        ValueError: a setting is not KEY=VALUE, or the study has no such argument.

    Example:
        >>> changed({"sizes": [5], "seed": 0}, ["sizes=1,2", "seed=3"])
        {'sizes': [1, 2], 'seed': 3}
    """
    result = dict(arguments)
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise ValueError(f"Expected KEY=VALUE, but got {change!r}. See `semscale study --help`.")
        if key not in result:
            raise ValueError(
                f"Unknown argument `{key}`.{did_you_mean(key, result)} Arguments: {', '.join(result) or 'none'}."
            )
        found = _value(key, text, isinstance(result[key], list))
        _check_kind(key, found, result[key])
        result[key] = found
    return result


def _value(key: str, text: str, is_list: bool) -> Any:
    if is_list and not text.startswith("["):
        text = f"[{text}]"
    try:
        return float(text) if _EXPONENT.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"Expected `{key}` to be a YAML value, but got {text!r}. Quote it.") from None


def _check_kind(key: str, found: Any, default: Any) -> None:
    """Refuse words where the file has a number, in a list too: a study may only notice after minutes."""
    wanted, values = (default, found) if isinstance(default, list) else ([default], [found])
    if wanted and all(isinstance(value, int | float) and not isinstance(value, bool) for value in wanted):
        whole = not any(isinstance(value, float) for value in wanted)
        wrong = [value for value in values if not isinstance(value, int if whole else int | float)]
        if wrong:
            kind = "whole numbers" if whole else "numbers"
            raise ValueError(f"Expected `{key}` to be {kind} as in the study's file, but got {wrong[0]!r}.")


def _check(content: Any, file: Path) -> None:
    if not isinstance(content, Mapping) or not {"study"} <= set(content) <= _KEYS:
        found = sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"Expected {str(file)!r} to be a study, a mapping with `study` and at most {sorted(_KEYS)}, but got "
            f"{found}. A table runs with `semscale table`."
        )
    for key in ("study", "figure"):
        reference = str(content.get(key, content["study"]))
        if ":" not in reference and not (reference.isidentifier() and find_spec(f"{__package__}.{reference}")):
            raise ValueError(
                f"Expected `{key}` of {str(file)!r} to name a module of {__package__}, or to be 'module:function', but "
                f"got {reference!r}."
            )
    if not _NAME.fullmatch(file.stem):
        raise ValueError(f"Expected the file's name to be letters, digits, '-', '_' and '.', but got {file.stem!r}.")
