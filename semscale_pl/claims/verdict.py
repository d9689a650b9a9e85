"""The rule by which intervals become words: of a test, and of a claim over all its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semscale_pl.claims.definition import Claim
from semscale_pl.claims.evidence import Effect, Evidence

HOLDS, NO, AS_WELL, BETTER, UNCONTROLLED, UNCLEAR, ABSENT = (
    "holds",
    "not seen",
    "the control does as well",
    "the control does better",
    "no control",
    "cannot tell",
    "open",
)
RULE = (
    "A test *holds* where the whole interval of the effect is as the claim says, and so is that of the difference "
    "to the control, where the claim has one: what does without the semantic scale, mostly weights of the numbers "
    "of images alone. It is *not seen* where the whole interval lies below what would matter (the margin of the "
    "claim, a round number that was set when the first tables had been seen), or on the other side. "
    "Where the effect is seen and the difference to the control is not, *the control "
    "does as well*, or *better* where that whole interval is below 0. *No control*: the effect is seen, and the "
    "table has no such row. An interval that reaches both ways *cannot tell*, and neither can one seed. A claim "
    "**holds** where all its tests do, **holds only** on those that are named, is **not seen** where none does and "
    "one could have shown it, and is **open** where no test is stored, or none that could tell."
)


@dataclass(frozen=True)
class Judged:
    """A test's evidence with what it says."""

    evidence: Evidence
    outcome: str


@dataclass(frozen=True)
class Verdict:
    """What the stored results say of a claim: a word, what it is restricted to, and each test's outcome."""

    word: str
    addition: str
    tests: tuple[Judged, ...]


def verdict(claim: Claim, evidence: Sequence[Evidence]) -> Verdict:
    """Judge a claim by its tests, see :data:`RULE`."""
    tests = tuple(Judged(one, outcome(claim, one)) for one in evidence)
    stored = [test for test in tests if test.outcome != ABSENT]
    holding = [test.evidence.test.data for test in stored if test.outcome == HOLDS]
    told = [test.outcome for test in stored if test.outcome != UNCLEAR]
    if holding:
        whole = len(holding) == len(stored)
        addition = f"on {'; '.join(holding)} ({len(holding)} of {len(stored)} tests)"
        return Verdict("holds" if whole else "holds only", addition, tests)
    if not stored:
        return Verdict("open", "no stored test", tests)
    if not told:
        return Verdict("open", "the intervals are too wide to tell", tests)
    if set(told) == {UNCONTROLLED}:
        return Verdict("open", "an effect, and no control for the counts", tests)
    return Verdict("not seen", _why_not(told), tests)


def outcome(claim: Claim, evidence: Evidence) -> str:
    """Return what one test says."""
    if evidence.missing:
        return ABSENT
    effect, control = (_seen(claim, one) for one in (evidence.effect, evidence.control))
    if evidence.effect is not None and effect is not True:
        return UNCLEAR if effect is None else NO
    if not claim.control:
        return HOLDS
    if evidence.control is None:
        return UNCONTROLLED
    if control is None:
        return UNCLEAR
    if control:
        return HOLDS
    high = evidence.control.high
    return BETTER if high is not None and high < 0.0 else AS_WELL


def _seen(claim: Claim, effect: Effect | None) -> bool | None:
    """Return whether an interval is as the claim expects; None where it could be either way."""
    if effect is None:
        return None
    low, high, margin = effect.low, effect.high, claim.margin
    if low is None or high is None:
        # One number without an interval can refute a bound, and bear out nothing.
        return False if claim.expects == "at most" and effect.mean > margin else None
    inside, outside = {
        "more": (low > 0.0, high < margin),
        "not less": (low > -margin, high < 0.0),
        "at most": (high <= margin, low > margin),
        "around 1": (low >= 1.0 / margin and high <= margin, low > 1.0 or high < 1.0),
    }[claim.expects]
    return True if inside else False if outside else None


def _why_not(told: Sequence[str]) -> str:
    """Say how many tests could tell, and in how many of them the control does as well or better."""
    tests = f"{len(told)} {'test' if len(told) == 1 else 'tests'} that could tell"
    better, as_well = told.count(BETTER), told.count(AS_WELL)
    if not better and not as_well:
        return f"in {tests}"
    parts = [f"better in {better}"] * bool(better) + [f"as well in {as_well}"] * bool(as_well)
    return f"the control does {' and '.join(parts)} of {tests}"
