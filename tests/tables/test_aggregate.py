from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

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
    assert found.p_holm == pytest.approx(first.pvalue, rel=1e-9)  # the larger of two keeps its p
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
    raw = sorted((d.paired.p_value, d.p_holm) for d in found)
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
