"""The page of claims: a row with the verdict of each, then every test with its intervals and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from semscale_pl.claims.definition import Claim
from semscale_pl.claims.evidence import Effect, Evidence, evidence_of
from semscale_pl.claims.verdict import ABSENT, RULE, Judged, Verdict, verdict
from semscale_pl.config.composing import experiments_dir

_DIGITS = {"points": 1, "per cent": 1, "correlation": 2, "times": 2}
_EXPECTED = {
    "more": "a gain, of which less than {margin} would not matter",
    "not less": "no loss of {margin} or more",
    "at most": "at most {margin}",
    "around 1": "a factor between 1/{plain} and {plain}",
}

_HEAD = (
    "# The paper's claims, and what was measured of each",
    "",
    "Made by `semscale claims` from [experiments/claims.yaml](../experiments/claims.yaml) and the published "
    "results: no figure here was typed, and a new result moves the page. Everything ran at small scale (heads on "
    "frozen features, small networks, short trainings); a verdict is about that, and the last column says what "
    "would change it.",
    "",
    f"**The rule.** {RULE}",
    "",
    "**The intervals.** Differences of a table are paired by seed. Their intervals cover other seeds (subset, "
    "order of the classes where a table permutes it, initial weights) of the same data, and are corrected so that "
    "all of a claim's together cover with 95 %. Those of a study are 95 % each, as it stored them; of correlations "
    "with class accuracy they cover other classes too. *n*: seeds, or trainings.",
    "",
    "| claim | verdict | its first stored test | what would change it |",
    "| --- | --- | --- | --- |",
)


def judge(claims: Sequence[Claim], results: Path) -> list[tuple[Claim, Verdict]]:
    """Judge claims by a folder of results.

    Raises:
        ValueError: a result is damaged, or lacks what a test names.
    """
    return [(claim, verdict(claim, evidence_of(claim, results))) for claim in claims]


def page(judged: Sequence[tuple[Claim, Verdict]]) -> str:
    """Return the page in Markdown."""
    head = [*_HEAD, *(_summary(claim, found) for claim, found in judged), ""]
    sections = [line for claim, found in judged for line in _section(claim, found)]
    return "\n".join([*head, *sections])


def lines(judged: Sequence[tuple[Claim, Verdict]]) -> list[str]:
    """Return a line a claim for a terminal: the verdict, and how many tests could be read."""
    return [f"{found.word:<10}  {claim.claim}; {found.addition}" for claim, found in judged]


def _summary(claim: Claim, found: Verdict) -> str:
    first = next((test for test in found.tests if test.outcome != ABSENT), None)
    text = "none" if first is None else f"{first.evidence.test.data}: {_both(claim, first.evidence)}"
    link = f"[{claim.claim}](#{_anchor(claim.claim)}) ({claim.paper})"
    return f"| {link} | **{found.word}**{_restricted(found)} | {text} | {claim.changes} |"


def _section(claim: Claim, found: Verdict) -> list[str]:
    expected = _EXPECTED[claim.expects].format(margin=_with_unit(claim.margin, claim.unit), plain=f"{claim.margin:g}")
    about = f"Effect: {claim.against}. " if claim.against else ""
    control = f" Control: {claim.control}." if claim.control else ""
    rows = [_row(claim, test) for test in found.tests]
    table = [
        "| data | n | effect | less the control | says | from |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        *rows,
    ]
    missing = dict.fromkeys(
        command_of(test.evidence.test.result) for test in found.tests if test.evidence.missing == "not run yet"
    )
    commands = [claim.run] if claim.run else list(missing)
    ways = [f"Open: {', '.join(f'`{command}`' for command in commands)}.", ""] if commands else []
    head = [f"## {claim.claim}", "", f"{claim.paper}. {about}Expected: {expected}.{control}", ""]
    return [*head, *([*table, ""] if rows else []), *ways]


def command_of(result: str) -> str:
    """Return the command that makes a stored result: of a table, a study or a benchmark.

    Example:
        >>> command_of("step_overhead"), command_of("cifar100_lt_features-mlp")
        ('semscale bench step_overhead', 'semscale table experiments/cifar100_lt_features.yaml profile=mlp')
    """
    stem, sign, profile = result.rpartition("-")
    name = stem if sign and (experiments_dir() / f"{stem}.yaml").is_file() else result
    file = experiments_dir() / f"{name}.yaml"
    if not file.is_file():
        return f"semscale bench {result.removesuffix('_benchmark')}"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    chosen = f" profile={profile}" if name != result and profile != content.get("default_profile") else ""
    return f"semscale study {name}{chosen}" if "study" in content else f"semscale table experiments/{name}.yaml{chosen}"


def _row(claim: Claim, judged: Judged) -> str:
    evidence = judged.evidence
    test, unit = evidence.test, evidence.test.unit or claim.unit
    if evidence.missing:
        return f"| {test.data} | | | | {judged.outcome}: {evidence.missing} | {test.result} |"
    both = (evidence.effect, evidence.control)
    count = next((one.n for one in both if one is not None and one.n), "")
    cells = [test.data, str(count), *(shown(one, claim, unit) for one in both), judged.outcome]
    return f"| {' | '.join(cells)} | [{evidence.file}](../experiments/results/{evidence.file}) |"


def shown(effect: Effect | None, claim: Claim, unit: str) -> str:
    """Write an effect with its interval; differences have their sign, factors and bounded quantities none."""
    if effect is None:
        return ""
    digits = _DIGITS[unit]
    sign = "+" if claim.expects in ("more", "not less") else ""
    mean = f"{effect.mean:{sign}.{digits}f}"
    if effect.low is None or effect.high is None:
        return f"{mean} (no interval)"
    return f"{mean} [{effect.low:{sign}.{digits}f}, {effect.high:{sign}.{digits}f}]"


def _both(claim: Claim, evidence: Evidence) -> str:
    unit = evidence.test.unit or claim.unit
    parts = [shown(evidence.effect, claim, unit)]
    if evidence.control is not None:
        parts.append(f"against the control {shown(evidence.control, claim, unit)}")
    return f"{', '.join(part for part in parts if part)} {unit}"


def _restricted(found: Verdict) -> str:
    return f" {found.addition}" if found.word.startswith("holds") else f": {found.addition}"


def _with_unit(value: float, unit: str) -> str:
    return {"points": f"{value:g} point{'s' * (value != 1)}", "per cent": f"{value:g} %"}.get(unit, f"{value:g}")


def _anchor(title: str) -> str:
    """Return what GitHub calls a heading."""
    kept = [letter for letter in title.lower() if letter.isalnum() or letter in " -_"]
    return "".join(kept).replace(" ", "-")
