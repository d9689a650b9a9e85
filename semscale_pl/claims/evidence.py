"""The effects of a claim with their intervals, out of stored tables by seed, studies and benchmarks as they stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale_pl.claims.definition import Claim, Test, Way
from semscale_pl.statistics import mean_interval, paired_difference

# What a stored mean is called.
_MEANS = ("mean", "value", "ratio", "accuracy")


@dataclass(frozen=True)
class Effect:
    """A mean with its interval; the bounds are None where one measurement, such as one seed, is all there is."""

    mean: float
    low: float | None
    high: float | None
    n: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What a test found; ``file`` is where it stands, and ``missing`` says why there is no effect."""

    test: Test
    effect: Effect | None
    control: Effect | None
    file: str
    missing: str = ""


def evidence_of(claim: Claim, results: Path) -> list[Evidence]:
    """Read what was measured of a claim.

    The intervals of a table's differences are Bonferroni's over all of this claim, so that together they cover with
    95 %; those that a study holds are its own, of 95 % each.

    Args:
        results: folder of results.

    Raises:
        ValueError: a result is damaged, or lacks what a test names.
    """
    found = [test for test in claim.tests if test.row and (results / test.result / "table.json").is_file()]
    comparisons = {
        (test.result, test.column, test.row, other) for test in found for other in (test.against, test.control) if other
    }
    level = 1.0 - 0.05 / max(1, len(comparisons))
    return [_of_table(test, results, level) if test.row else _of_study(test, results) for test in claim.tests]


def follow(content: Any, steps: Way) -> Any:
    """Walk from a result to what it holds: by keys, positions, what an entry of a list holds, and ``*`` for all.

    Raises:
        ValueError: there is no such thing.

    Example:
        >>> follow({"groups": [{"row": "CE", "value": 1}, {"row": "DSB", "value": 2}]}, ["groups", {"row": "DSB"}])
        {'row': 'DSB', 'value': 2}
        >>> follow([{"value": 1}, {"value": 2}], ["*", "value"])
        [1, 2]
    """
    for number, step in enumerate(steps):
        if step == "*":
            return [follow(entry, steps[number + 1 :]) for entry in content]
        try:
            content = _entry(content, step) if isinstance(step, Mapping) else content[step]
        except (KeyError, IndexError, TypeError, StopIteration):
            raise ValueError(f"Expected a result to hold {step!r} on the way {list(steps)}, but it does not.") from None
    return content


def _entry(content: Any, wanted: Mapping[str, Any]) -> Any:
    return next(entry for entry in content if all(entry.get(key) == value for key, value in wanted.items()))


def _of_table(test: Test, results: Path, level: float) -> Evidence:
    file = results / test.result / "table.json"
    if not file.is_file():
        return _absent(test, file)
    entries = _content(file)["entries"]
    measure = entries[0]["measure"]
    values = {
        entry["row"]: entry["values"]
        for entry in entries
        if (entry["column"], entry["measure"]) == (test.column, measure)
    }
    effect, control = (_difference(values, test, row, level) if row else None for row in (test.against, test.control))
    if effect is None and control is None:
        return _absent(test, file, "none of its cells is finished")
    return Evidence(test, effect, control, _shown(file))


def _difference(values: Mapping[str, Mapping[str, float]], test: Test, other: str, level: float) -> Effect | None:
    for row in (test.row, other):
        if row not in values:
            raise ValueError(
                f"Expected the table {test.result} to have a row {row!r} in {test.column!r}. Rows: {list(values)}."
            )
    first, second = values[test.row], values[other]
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    paired = paired_difference([first[seed] for seed in seeds], [second[seed] for seed in seeds], level)
    return Effect(paired.mean, paired.low, paired.high, paired.n)


def _of_study(test: Test, results: Path) -> Evidence:
    files = [results / test.result / name for name in ("result.json", "benchmark.json")]
    file = next((file for file in files if file.is_file()), files[0])
    if not file.is_file():
        return _absent(test, file)
    content = _content(file)
    result = content["result"] if isinstance(content, Mapping) and "result" in content else content
    if test.reached and follow(result, test.reached) > follow(result, test.end) / 2:
        return _absent(test, file, "the curves still rise where the sweep ends")
    effect, control = (_stored(result, test, steps) if steps else None for steps in (test.at, test.control_at))
    if effect is None and control is None:
        return _absent(test, file, "undefined there")
    if effect is not None and test.minus:
        effect = _moved(effect, 1.0, -test.minus)
    return Evidence(test, effect, control, _shown(file))


def _stored(result: Any, test: Test, steps: Way) -> Effect | None:
    found = follow(result, steps)
    if isinstance(found, list):
        interval = mean_interval(found)
        effect = Effect(interval.mean, interval.low, interval.high, interval.n)
    elif isinstance(found, Mapping):
        mean = next((found[key] for key in _MEANS if key in found), None)
        if mean is None:
            return None
        effect = Effect(mean, found.get("low"), found.get("high"), found.get("n"))
    else:
        effect = Effect(float(found), None, None)
    if test.relative_to:
        effect = _moved(effect, 1.0 / follow(result, test.relative_to), -1.0)
        return _moved(effect, 100.0, 0.0)
    return _moved(effect, test.scale, 0.0)


def _moved(effect: Effect, factor: float, shift: float) -> Effect:
    mean, low, high = (None if v is None else factor * v + shift for v in (effect.mean, effect.low, effect.high))
    assert mean is not None
    return Effect(mean, low, high, effect.n)


def _absent(test: Test, file: Path, why: str = "not run yet") -> Evidence:
    return Evidence(test, None, None, _shown(file), why)


def _shown(file: Path) -> str:
    """Name a file by what it is called below the folder of results."""
    return f"{file.parent.name}/{file.name}"


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(
            f"Expected {str(file)!r} to be a stored result, but it is damaged. Publish it again."
        ) from None
