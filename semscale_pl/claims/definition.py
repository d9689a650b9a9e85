"""What a claim is and which stored results test it, read from experiments/claims.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from semscale_pl.config.composing import experiments_dir
from semscale_pl.config.errors import did_you_mean
from semscale_pl.options import check_choice

CLAIMS = "claims.yaml"
EXPECTATIONS = ("more", "not less", "at most", "around 1")
# The way from a stored result to a figure: keys, positions, what an entry of a list holds, "*" for all entries.
Way = Sequence[str | int | Mapping[str, Any]]


@dataclass(frozen=True)
class Test:
    """One comparison that a stored result holds.

    Args:
        data: in words.
        result: name of the folder of results that the figures come from.
        row: of a table, what is claimed to help.
        against: the row without it.
        control: the row that knows the counts of images alone.
        column: of the table.
        at: of a study or a benchmark, where the effect stands in its result.
        control_at: where the difference to the control stands.
        scale: factor from the stored unit to the shown one.
        minus: what chance gives, in the shown unit, taken off the effect.
        relative_to: where the number stands that the effect is given as a change of, in per cent.
        reached, end: where a sweep's finding and its largest size stand; beyond half of the size the sweep has not
            shown it.
        unit: where it is not the claim's.
    """

    __test__ = False  # for pytest, which collects classes of this name

    data: str
    result: str
    row: str = ""
    against: str = ""
    control: str = ""
    column: str = ""
    at: Way = ()
    control_at: Way = ()
    scale: float = 1.0
    minus: float = 0.0
    relative_to: Way = ()
    reached: Way = ()
    end: Way = ()
    unit: str = ""

    @property
    def is_controlled(self) -> bool:
        """Whether it names what the control is."""
        return bool(self.control or self.control_at)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Args:
        claim: in words.
        paper: where it is made.
        changes: what would change the verdict.
        unit: of the effects.
        margin: of the expectation, in this unit: a gain below it does not matter, a loss within it does not hurt, a
            value above it is too much, a factor beyond it is not 1.
        expects: one of :data:`EXPECTATIONS`.
        against: what the effects are differences to, in words.
        control: what the control is, in words; empty where counts have no part in the claim.
        run: the command that would test it, where no test is laid out.
        tests: the one that says most comes first.
    """

    claim: str
    paper: str
    changes: str
    unit: str = "points"
    margin: float = 1.0
    expects: str = "more"
    against: str = ""
    control: str = ""
    run: str = ""
    tests: tuple[Test, ...] = ()


def load_claims(file: Path | None = None) -> list[Claim]:
    """Read the claims of a YAML file, experiments/claims.yaml unless given.

    Raises:
        ValueError: there is no such file, or an entry lacks a key or has one that nobody knows.
    """
    file = file or experiments_dir() / CLAIMS
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        entries = content["claims"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"Expected {str(file)!r} to be YAML with `claims`, but it cannot be read: {text}") from None
    return [_claim(entry) for entry in entries]


def _claim(entry: Mapping[str, Any]) -> Claim:
    tests = tuple(_made(Test, test) for test in entry.get("tests") or ())
    claim: Claim = _made(Claim, {**entry, "tests": tests})
    check_choice(claim.expects, EXPECTATIONS, "expects")
    if not claim.tests and not claim.run:
        raise ValueError(f"Expected `tests` or `run` of the claim {claim.claim!r}, but it has neither.")
    for test in claim.tests:
        if not (test.row and (test.against or test.control)) and not (test.at or test.control_at):
            raise ValueError(f"Expected `row` with `against` or `control`, or `at`, of {test.data!r}, but got neither.")
    return claim


def _made(kind: type, entry: Mapping[str, Any]) -> Any:
    known = [field.name for field in fields(kind)]
    for key in entry:
        if key not in known:
            raise ValueError(f"Expected keys of a {kind.__name__.lower()}, but got {key!r}.{did_you_mean(key, known)}")
    try:
        return kind(**entry)
    except TypeError as error:
        raise ValueError(f"Expected a {kind.__name__.lower()} with all it needs, but: {error}.") from None
