"""The rule from intervals to words, and the effects that it reads, against differences computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from semscale_pl.claims.definition import Claim, Test
from semscale_pl.claims.evidence import Effect, Evidence, evidence_of, follow
from semscale_pl.claims.verdict import verdict

TEST = Test("data", "result", row="DSB", against="plain", control="counts")


def claim(**changes: Any) -> Claim:
    return Claim("DSB helps", "section 4", "more seeds", **{"control": "counts", "margin": 1.0, **changes})


def interval(low: float, high: float) -> Effect:
    return Effect((low + high) / 2.0, low, high, 10)


def judged(effect: Effect | None, control: Effect | None, of: Claim | None = None) -> str:
    return verdict(of or claim(), [Evidence(TEST, effect, control, "file")]).tests[0].outcome


@pytest.mark.parametrize(
    ("effect", "control", "outcome"),
    [
        ((0.3, 0.5), (0.2, 0.6), "holds"),
        ((0.3, 0.5), (-0.2, 0.6), "the control does as well"),
        ((0.3, 0.5), (-0.6, -0.2), "the control does better"),
        ((0.3, 0.5), (-0.2, 1.6), "cannot tell"),
        ((0.3, 0.5), None, "no control"),
        ((-0.3, 0.5), (0.2, 0.6), "not seen"),
        ((-0.3, 1.5), (0.2, 0.6), "cannot tell"),
        (None, (-3.0, -2.0), "the control does better"),
    ],
)
def test_a_gain_must_be_seen_and_be_more_than_the_control_s(
    effect: tuple[float, float] | None, control: tuple[float, float] | None, outcome: str
) -> None:
    assert judged(effect and interval(*effect), control and interval(*control)) == outcome


@pytest.mark.parametrize(
    ("expects", "margin", "low", "high", "outcome"),
    [
        ("not less", 1.0, -0.9, 0.2, "holds"),
        ("not less", 1.0, -1.1, 0.2, "cannot tell"),
        ("not less", 1.0, -3.0, -1.1, "not seen"),
        ("at most", 1.05, 1.01, 1.04, "holds"),
        ("at most", 1.05, 1.01, 1.2, "cannot tell"),
        ("at most", 1.05, 1.1, 1.2, "not seen"),
        ("around 1", 1.5, 0.8, 1.2, "holds"),
        ("around 1", 1.5, 0.8, 1.6, "cannot tell"),
        ("around 1", 1.5, 3.4, 9.9, "not seen"),
    ],
)
def test_other_expectations(expects: str, margin: float, low: float, high: float, outcome: str) -> None:
    assert judged(interval(low, high), None, claim(expects=expects, margin=margin, control="")) == outcome


def test_one_number_can_refute_a_bound_and_bear_out_nothing() -> None:
    cost = claim(expects="at most", margin=1.05, control="")
    assert judged(Effect(1.72, None, None), None, cost) == "not seen"
    assert judged(Effect(1.01, None, None), None, cost) == "cannot tell"
    assert judged(Effect(5.0, None, None, 1), Effect(5.0, None, None, 1)) == "cannot tell"


def found(*outcomes: str) -> tuple[str, str]:
    made = {
        "holds": (interval(0.3, 0.5), interval(0.3, 0.5)),
        "not": (interval(-0.3, 0.5), None),
        "as well": (interval(0.3, 0.5), interval(-0.3, 0.5)),
        "no control": (interval(0.3, 0.5), None),
        "wide": (interval(-9.0, 9.0), None),
        "absent": (None, None),
    }
    evidence = [
        Evidence(Test(f"data {number}", "result"), *made[one], "file", "not run yet" if one == "absent" else "")
        for number, one in enumerate(outcomes)
    ]
    whole = verdict(claim(), evidence)
    return whole.word, whole.addition


def test_a_claim_holds_by_all_its_stored_tests_or_by_those_that_are_named() -> None:
    assert found("holds", "holds", "absent") == ("holds", "on data 0; data 1 (2 of 2 tests)")
    assert found("not", "holds", "wide") == ("holds only", "on data 1 (1 of 3 tests)")
    assert found("not", "as well", "wide") == ("not seen", "the control does as well in 1 of 2 tests that could tell")
    assert found("not", "wide") == ("not seen", "in 1 test that could tell")
    assert found("wide", "absent") == ("open", "the intervals are too wide to tell")
    assert found("no control", "wide") == ("open", "an effect, and no control for the counts")
    assert found("absent") == ("open", "no stored test")


def write(folder: Path, name: str, content: Any) -> None:
    (folder / "result").mkdir(exist_ok=True)
    (folder / "result" / name).write_text(json.dumps(content))


def test_differences_of_a_table_are_paired_and_corrected_over_the_claim(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = {
        name: random.normal(50.0 + shift, 1.0, 8) for name, shift in (("DSB", 2.0), ("plain", 0.0), ("counts", 1.0))
    }
    entries = [
        {
            "row": name,
            "column": "",
            "measure": measure,
            "values": {str(seed): value for seed, value in enumerate(values)},
        }
        for name, values in rows.items()
        for measure in ("accuracy", "tail")
    ]
    write(tmp_path, "table.json", {"entries": entries})
    (evidence,) = evidence_of(claim(tests=(TEST,)), tmp_path)
    for effect, other in ((evidence.effect, "plain"), (evidence.control, "counts")):
        differences = rows["DSB"] - rows[other]
        # Two comparisons: 97.5 % each.
        reach = stats.t.ppf(0.9875, 7) * differences.std(ddof=1) / math.sqrt(8)
        assert effect is not None
        assert effect.mean == pytest.approx(differences.mean())
        assert (effect.low, effect.high) == pytest.approx((differences.mean() - reach, differences.mean() + reach))
    # Where the row without it is the control as well, there is one comparison.
    (evidence,) = evidence_of(
        claim(tests=(Test("data", "result", row="DSB", against="plain", control="plain"),)), tmp_path
    )
    differences = rows["DSB"] - rows["plain"]
    assert evidence.effect == evidence.control is not None
    assert evidence.control.low == pytest.approx(stats.ttest_1samp(differences, 0.0).confidence_interval(0.95).low)
    with pytest.raises(ValueError, match="to have a row 'DBS'"):
        evidence_of(claim(tests=(Test("data", "result", row="DBS", against="plain"),)), tmp_path)


def test_effects_of_a_study_are_read_where_they_stand(tmp_path: Path) -> None:
    found = {
        "groups": [{"row": "CE", "share": {"mean": 0.2, "low": 0.1, "high": 0.3, "n": 5}}],
        "noisy": [1.0, 1.2, 1.1],
        "clean": 1.0,
        "undefined": {"mean": None},
        "point": 150.0,
        "sizes": [5, 200],
    }
    write(tmp_path, "result.json", {"result": found})
    share = Test("a", "result", at=("groups", {"row": "CE"}, "share"), scale=100.0, minus=5.0)
    noise = Test("b", "result", at=("noisy",), relative_to=("clean",))
    sweep = Test("c", "result", at=("clean",), reached=("point",), end=("sizes", -1))
    tests = (share, noise, sweep, Test("d", "result", at=("undefined",)), Test("e", "nothing", at=("clean",)))
    first, second, third, fourth, fifth = evidence_of(claim(tests=tests), tmp_path)
    assert first.effect == Effect(pytest.approx(15.0), pytest.approx(5.0), pytest.approx(25.0), 5)
    assert second.effect is not None
    assert second.effect.mean == pytest.approx(10.0)
    assert second.effect.high == pytest.approx(10.0 + stats.t.ppf(0.975, 2) * 10.0 / math.sqrt(3))
    assert [third.missing, fourth.missing, fifth.missing] == [
        "the curves still rise where the sweep ends",
        "undefined there",
        "not run yet",
    ]
    write(tmp_path, "result.json", "{")
    with pytest.raises(ValueError, match="to hold"):
        evidence_of(claim(tests=tests[:1]), tmp_path)


def test_a_way_that_leads_nowhere_is_named() -> None:
    assert follow([{"a": [1, 2]}, {"a": [3, 4]}], ["*", "a", -1]) == [2, 4]
    with pytest.raises(ValueError, match="to hold 'b' on the way"):
        follow({"a": 1}, ["b"])
    with pytest.raises(ValueError, match="to hold"):
        follow([{"a": 1}], [{"a": 2}])
