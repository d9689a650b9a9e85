from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from semscale_pl.statistics import pairs_needed
from semscale_pl.tables.aggregate import summarize
from semscale_pl.tables.derived import value_at
from semscale_pl.tables.rendering import as_json, markdown
from semscale_pl.tables.schema import Cell, Reference, parse_table
from semscale_pl.tables.sentences import conditions

VALUES = {
    ("A", 0): 0.50,
    ("A", 1): 0.52,
    ("A", 2): 0.49,
    ("B", 0): 0.60,
    ("B", 1): 0.58,
    ("B", 2): 0.61,
    ("C", 0): 0.51,
    ("C", 2): 0.50,
}


@pytest.fixture
def summary(content: dict[str, Any]) -> Any:
    rows = [{"name": "A"}, {"name": "B"}, {"name": "C", "paper": {"accuracy": 55.0}}]
    table = parse_table({**content, "rows": rows, "seeds": [0, 1, 2], "contrasts": [["B", "C"]]})
    record = {key: {"results": {"last": {"accuracy": value}}} for key, value in VALUES.items()}
    return summarize(table, [(cell, record.get((cell.row, cell.seed))) for cell in table.cells()])


def test_intervals_equal_scipy(summary: Any) -> None:
    measure = summary.table.focus
    for row in "AB":
        values = np.array([100 * VALUES[row, seed] for seed in range(3)])
        low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        interval = summary.entry(row, "", measure).interval
        assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-12)
        assert interval.n == 3


def test_differences_are_paired_on_common_seeds_and_holm_adjusted(summary: Any) -> None:
    measure = summary.table.focus
    a, b = ([100 * VALUES[row, seed] for seed in range(3)] for row in "AB")
    first = stats.ttest_rel(b, a)
    second = stats.ttest_rel([51.0, 50.0], [50.0, 49.0 + 1e-9])
    found = summary.entry("B", "", measure).difference
    low, high = first.confidence_interval(0.95)
    assert (found.paired.low, found.paired.high) == pytest.approx((low, high), rel=1e-9)
    assert found.paired.p_value == pytest.approx(first.pvalue, rel=1e-9)
    other = summary.entry("C", "", measure).difference
    assert other.paired.n == 2
    assert other.paired.mean == pytest.approx(1.0)
    assert second.pvalue < first.pvalue
    assert found.p_adjusted == pytest.approx(first.pvalue, rel=1e-9)  # the larger of two keeps its p
    assert summary.entry("A", "", measure).difference is None


def test_contrasts_and_paper(summary: Any) -> None:
    (contrast,) = summary.contrasts
    assert (contrast.row, contrast.reference, contrast.paired.n) == ("B", "C", 2)
    assert contrast.paired.mean == pytest.approx(((60 - 51) + (61 - 50)) / 2)
    paper = summary.entry("C", "", summary.table.focus).paper
    assert (paper.low, paper.high, paper.is_range) == (55.0, 55.0, False)


@pytest.mark.parametrize(
    ("value", "verdict", "difference"), [(41.0, "below", -1.0), (42.0, "inside", 0.0), (43.5, "above", 0.5)]
)
def test_a_range_of_the_paper(value: float, verdict: str, difference: float) -> None:
    gate = Reference(42.0, 43.0)
    assert gate.is_range
    assert gate.judge(value) == verdict
    assert gate.difference(value) == pytest.approx(difference)


def test_a_figure_under_a_column_is_about_the_compared_measure(content: dict[str, Any]) -> None:
    content["columns"] = [{"name": "X"}, {"name": "Y"}]
    content["rows"][1]["paper"] = {"X": [1, 2], "Y/tail": 3}
    content["measures"].append({"name": "tail", "key": "results.last.tail"})
    summary = summarize(parse_table(content), [])
    found = {(e.column, e.measure.name): e.paper for e in summary.entries if e.row == "B" and e.paper}
    assert found == {("X", "accuracy"): Reference(1, 2), ("Y", "tail"): Reference(3, 3)}


def test_correlations_are_reached_by_the_paper_s_symbols(content: dict[str, Any]) -> None:
    """The prime and the plain letter stand in the key as in the record."""
    content["measures"] = [{"name": "S'", "key": "correlations.last.S'.pearson.value"}]
    table = parse_table(content)
    record = {"correlations": {"last": {"S'": {"pearson": {"value": 0.7}}, "S": {"pearson": {"value": 0.1}}}}}
    summary = summarize(table, [(table.cells()[0], record)])
    assert dict(summary.entry("A", "", table.focus).values) == {0: 0.7}


def test_holm_multiplies_within_one_measure(content: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    rows = [{"name": name} for name in "ABCD"]
    table = parse_table({**content, "rows": rows, "seeds": [0, 1, 2, 3, 4]})
    results = [(cell, {"results": {"last": {"accuracy": rng.normal()}}}) for cell in table.cells()]
    found = [e.difference for e in summarize(table, results).entries if e.difference]
    raw = sorted((d.paired.p_value, d.p_adjusted) for d in found)
    expected = np.minimum(np.maximum.accumulate([(3 - i) * p for i, (p, _) in enumerate(raw)]), 1)
    assert [adjusted for _, adjusted in raw] == pytest.approx(list(expected))


@pytest.mark.parametrize(
    "metrics", [{}, {"a": None}, {"a": {"b": None}}, {"a": {"b": "1"}}, {"a": {"b": True}}, {"a": {"b": float("nan")}}]
)
def test_undefined_values_are_none(metrics: dict[str, Any]) -> None:
    assert value_at(metrics, "a.b") is None


def test_an_undefined_value_lowers_n(content: dict[str, Any]) -> None:
    table = parse_table(content)
    results = [(Cell("A", "", seed, ()), {"results": {"last": {"accuracy": v}}}) for seed, v in ((0, 0.5), (1, None))]
    entry = summarize(table, results).entry("A", "", table.focus)
    assert dict(entry.values) == {0: 50.0}
    assert entry.interval is not None
    assert entry.interval.half_width is None


def test_what_rows_differ_in_unnamed_is_said_below_the_table(content: dict[str, Any]) -> None:
    columns = [{"name": "long"}, {"name": "short"}]
    table = parse_table({**content, "columns": columns})

    def record(cell: Cell) -> dict[str, Any]:
        start = 5 if cell.row == "B" else 0
        rate = 0.1 if (cell.row, cell.column) == ("B", "short") else 0.05
        reweighting = {"_target_": "a.Weights", "start_epoch": start}
        config = {"seed": cell.seed, "reweighting": reweighting, "optimizer": {"lr": rate}}
        return {"results": {"last": {"accuracy": 0.5}}, "config": config}

    found = summarize(table, [(cell, record(cell)) for cell in table.cells()])
    assert found.unmatched == (
        "Not matched: `reweighting.start_epoch` is 0 in A; 5 in B.",
        "short: Not matched: `optimizer.lr` is 0.05 in A; 0.1 in B.",
    )
    assert set(found.unmatched) <= set(conditions(found))
    assert as_json(found, {})["unmatched"] == list(found.unmatched)
    assert all(sentence in markdown(found) for sentence in found.unmatched)


def test_shares_near_their_bounds_have_intervals_within_them(content: dict[str, Any]) -> None:
    measures = [
        {"name": "tail", "key": "results.last.tail", "scale": 100, "digits": 1, "paired": True},
        {"name": "bias", "key": "results.last.bias", "digits": 1},
    ]
    table = parse_table({**content, "measures": measures, "seeds": [0, 1, 2]})
    assert [measure.bounds for measure in table.measures if measure.name in ("tail", "bias")] == [(0.0, 100.0), None]
    values = {"A": [0.0, 0.02, 0.0], "B": [0.4, 0.5, 0.45]}
    records = [(c, {"results": {"last": {"tail": values[c.row][c.seed], "bias": 1.0}}}) for c in table.cells()]
    summary = summarize(table, records)
    text = markdown(summary)
    assert "| A | 0.7 [0.0, " in text
    assert "| B | 45.0 ± 12.4 |" in text
    assert "[low, high] on the logit scale" in text
    entry = next(one for one in as_json(summary, {})["entries"] if (one["row"], one["measure"]) == ("A", "tail"))
    assert 0 < entry["low"] < entry["mean"] < entry["high"] < 100
    assert entry["half_width"] > entry["mean"]


def two_families(content: dict[str, Any]) -> Any:
    """Return the summary of three rows over four seeds with a primary comparison, and its values."""
    rows = [{"name": name} for name in "ABC"]
    changes = {"rows": rows, "seeds": [0, 1, 2, 3], "primary": ["B", "C"], "contrasts": [["B", "C"], ["C", "B"]]}
    table = parse_table({**content, **changes})
    draws = np.random.default_rng(0).normal(0.5, 0.02, (3, 4)) + np.array([[0.0], [0.05], [0.06]])
    values = dict(zip("ABC", (100 * draws).tolist(), strict=True))
    record = {(r, s): {"results": {"last": {"accuracy": values[r][s] / 100}}} for r in "ABC" for s in range(4)}
    return summarize(table, [(cell, record[cell.row, cell.seed]) for cell in table.cells()]), values


def test_the_primary_comparison_stands_alone(content: dict[str, Any]) -> None:
    summary, values = two_families(content)
    (found,) = summary.primary
    test = stats.ttest_rel(values["B"], values["C"])
    assert found.p_adjusted == pytest.approx(test.pvalue, rel=1e-9)
    assert (found.paired.low, found.paired.high) == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-9)
    assert [(one.row, one.reference) for one in summary.contrasts] == [("C", "B")], "it is not shown twice"


def test_all_others_are_one_family_with_corrected_intervals(content: dict[str, Any]) -> None:
    summary, values = two_families(content)
    pairs = [("B", "A"), ("C", "A"), ("C", "B")]
    tests = [stats.ttest_rel(values[row], values[reference]) for row, reference in pairs]
    found = [summary.entry(row, "", summary.table.focus).difference for row in "BC"] + [summary.contrasts[0]]
    assert summary.num_others == 3
    for difference, test in zip(found, tests, strict=True):
        assert difference.p_adjusted == pytest.approx(min(1.0, 3 * test.pvalue), rel=1e-9)
        wide = test.confidence_interval(1 - 0.05 / 3)
        assert (difference.paired.low, difference.paired.high) == pytest.approx(tuple(wide), rel=1e-9)
        assert difference.level == pytest.approx(1 - 0.05 / 3)


def test_the_page_says_primary_first_then_how_the_rest_is_corrected_and_what_seeds_are_needed(
    content: dict[str, Any],
) -> None:
    summary, values = two_families(content)
    text = conditions(summary)
    assert "B against C was named as primary beforehand: its p is not adjusted. The other 3 comparisons" in text[0]
    assert "p and intervals are Bonferroni's over all of them (98.33 % each" in text[0]
    judged = next(place for place, sentence in enumerate(text) if sentence.startswith("Primary: B is"))
    deviation = np.std(np.subtract(values["B"], values["C"]), ddof=1)
    spread = f"Power: with the measured spread of this difference (standard deviation {deviation:.2f} over 4 seeds)"
    assert text[judged + 1].startswith(spread)
    assert f"with {', '.join(f'{pairs_needed(deviation, size):,}' for size in (0.5, 1, 2))} seeds." in text[judged + 1]
    assert all(sentence.find("has the highest mean") < 0 for sentence in text[:judged])
    (primary,) = as_json(summary, {})["primary"]
    assert (primary["row"], primary["difference_level"]) == ("B", 0.95)


def test_a_primary_comparison_in_several_columns_is_corrected_over_them(content: dict[str, Any]) -> None:
    table = parse_table({**content, "columns": [{"name": "x"}, {"name": "y"}], "primary": ["B", "A"]})
    values = {("A", 0): 0.5, ("A", 1): 0.52, ("B", 0): 0.6, ("B", 1): 0.63}
    records = [(c, {"results": {"last": {"accuracy": values[c.row, c.seed]}}}) for c in table.cells()]
    summary = summarize(table, records)
    p = stats.ttest_rel([60, 63], [50, 52]).pvalue
    assert [one.p_adjusted for one in summary.primary] == pytest.approx([2 * p, 2 * p])
    assert {one.level for one in summary.primary} == {0.975}
    assert summary.num_others == 0


def simulated_page(content: dict[str, Any], effects: dict[str, float], random: np.random.Generator) -> Any:
    """Return the summary of a page whose rows differ by so much in truth; what a seed draws, its rows share in part."""
    measures = [{**content["measures"][0], "name": name, "key": name} for name in ("first", "second")]
    rows = [{"name": name} for name in effects]
    changes = {"rows": rows, "measures": measures, "seeds": [0, 1, 2, 3, 4], "primary": ["B", "A"]}
    table = parse_table({**content, **changes, "contrasts": [["B", "C"], ["C", "D"]]})
    shared = random.normal(0.0, 0.02, (5, 2))
    records = []
    for cell in table.cells():
        values = 0.5 + effects[cell.row] + shared[cell.seed] + random.normal(0.0, 0.01, 2)
        records.append((cell, dict(zip(("first", "second"), values.tolist(), strict=True))))
    return summarize(table, records)


def others_of(summary: Any) -> list[Any]:
    """Return all comparisons of a page but the primary one."""
    shown = [entry.difference for entry in summary.entries if entry.difference is not None]
    return [one for one in (*shown, *summary.contrasts) if one not in summary.primary]


def test_pages_on_which_nothing_is_true_seldom_find_anything(content: dict[str, Any]) -> None:
    random, pages = np.random.default_rng(0), 100
    found = [simulated_page(content, dict.fromkeys("ABCD", 0.0), random) for _ in range(pages)]
    others = [others_of(page) for page in found]
    assert {len(page) for page in others} == {found[0].num_others} == {7}
    most = stats.binom.ppf(0.999, pages, 0.05)
    assert sum(any(one.p_adjusted < 0.05 for one in page) for page in others) <= most
    assert sum(page.primary[0].p_adjusted < 0.05 for page in found) <= most
    assert sum(any(one.paired.p_value < 0.05 for one in page) for page in others) > most, "it would be seen"


def test_intervals_agree_with_their_p_and_cover_together(content: dict[str, Any]) -> None:
    random, pages = np.random.default_rng(1), 60
    effects = {"A": 0.0, "B": 0.01, "C": 0.03, "D": 0.1}
    missed, decided = 0, []
    for _ in range(pages):
        page = others_of(simulated_page(content, effects, random))
        truths = [100 * (effects[one.row] - effects[one.reference]) for one in page]
        missed += not all(one.paired.low <= truth <= one.paired.high for one, truth in zip(page, truths, strict=True))
        for one in page:
            decided.append(one.p_adjusted < 0.05)
            assert decided[-1] == (not one.paired.low <= 0.0 <= one.paired.high)
    assert missed <= stats.binom.ppf(0.999, pages, 0.05)
    assert 0.2 < np.mean(decided) < 0.8


@pytest.mark.parametrize("names", [["A"], ["A", "A"], "AB", ["A", "Z"]])
def test_a_primary_comparison_is_of_two_rows(content: dict[str, Any], names: Any) -> None:
    with pytest.raises(ValueError, match="primary"):
        parse_table({**content, "primary": names})
