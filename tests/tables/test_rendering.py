from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from semscale_pl.files import strict
from semscale_pl.tables import rendering
from semscale_pl.tables.aggregate import Summary, summarize
from semscale_pl.tables.schema import parse_table
from semscale_pl.tables.sentences import p_text, verdict

LEVELS = {"A": (0.50, 0.52, 0.49), "B_1": (0.60, 0.63, 0.59), "C": (0.50, 0.53, 0.48)}


@pytest.fixture
def summary(content: dict[str, Any]) -> Summary:
    content |= {
        "rows": [{"name": "A"}, {"name": "B_1", "paper": {"accuracy": 61}}, {"name": "C"}, {"name": "D"}],
        "seeds": [0, 1, 2],
        "base": ["behaviour=ok"],
        "contrasts": [["B_1", "C"]],
    }
    content["measures"].append({"name": "tail", "key": "results.last.tail", "unit": "%"})
    table = parse_table(content)
    results = [
        (
            cell,
            {"results": {"last": {"accuracy": LEVELS[cell.row][cell.seed], "tail": None}}} if cell.row != "D" else None,
        )
        for cell in table.cells()
    ]
    return summarize(table, results)


MARKDOWN = """\
# Small

| method | accuracy | accuracy, paper | ours - paper | accuracy - A | p | tail (%) | n |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| A | 50.3 ± 3.8 | n/a | n/a |  |  | n/a | 0-3 |
| B_1 | 60.7 ± 5.2 | 61.0 | -0.3 | +10.3 [+8.9, +11.8] | 0.002 | n/a | 0-3 |
| C | 50.3 ± 6.3 | n/a | n/a | +0.0 [-2.5, +2.5] | 1.000 | n/a | 0-3 |
| D | n/a | n/a | n/a | n/a | n/a | n/a | 0 |

"""


def test_markdown(summary: Summary) -> None:
    text = rendering.markdown(summary)
    assert text.startswith(MARKDOWN)
    assert "95 % Student interval over 3 seeds." in text
    assert "`behaviour=ok`" in text


@pytest.mark.parametrize(
    ("finished", "text"),
    [(1, "One of 3 seeds, so without an interval."), (2, "over 2 of 3 seeds."), (3, "over 3 seeds.")],
)
def test_unfinished_seeds_are_not_counted(content: dict[str, Any], finished: int, text: str) -> None:
    table = parse_table(content | {"seeds": [0, 1, 2]})
    cells = [(cell, {"results": {"last": {"accuracy": 0.5 + cell.seed / 10}}}) for cell in table.cells()]
    summary = summarize(table, [(cell, found if cell.seed < finished else None) for cell, found in cells])
    assert text in rendering.markdown(summary)


def test_verdict(summary: Summary) -> None:
    assert verdict(summary) == [
        "B_1 has the highest mean accuracy (60.7); its lead over A, +10.3 [+8.9, +11.8], is told apart from 0 "
        "(unadjusted).",
        "Against A (paired by seed, Holm-adjusted p < 0.05): better: B_1; worse: none; not told apart: C.",
        "B_1 is better than C: +10.3 [+8.9, +11.8], p = 0.001.",
    ]


def test_one_seed_is_not_called_an_interval_or_a_tie(content: dict[str, Any]) -> None:
    content |= {"rows": [{"name": "A"}, {"name": "B"}], "seeds": [4], "contrasts": [["B", "A"]]}
    table = parse_table(content)
    values = {"A": 0.5, "B": 0.6}
    results = [(cell, {"results": {"last": {"accuracy": values[cell.row]}}}) for cell in table.cells()]
    text = "\n".join(rendering.conditions(summarize(table, results)))
    assert "One seed, so without an interval. Differences to A are of the same seed." in text
    assert "there are too few seeds to compare it with A." in text
    assert "There are too few seeds to compare B with A (+10.0)." in text
    assert "told apart" not in text


def test_latex(summary: Summary) -> None:
    lines = rendering.latex(summary).splitlines()
    assert lines[0] == "% Small"
    start = lines.index(r"\begin{tabular}{lrrrrrrr}")
    assert (
        lines[start + 2] == r"method & accuracy & accuracy, paper & ours - paper & accuracy - A & p & tail (\%) & n \\"
    )
    assert lines[start + 5] == (r"B\_1 & 60.7 $\pm$ 5.2 & 61.0 & -0.3 & +10.3 [+8.9, +11.8] & 0.002 & n/a & 0-3 \\")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_csv_has_one_plain_line_for_each_entry(summary: Summary) -> None:
    lines = list(csv.DictReader(io.StringIO(rendering.csv_text(summary))))
    assert len(lines) == 4 * 3
    lines = [line for line in lines if "selected epoch" not in line["measure"]]
    assert (lines[2]["paper_low"], lines[2]["against_paper"]) == ("61.0", "")
    assert float(lines[2]["ours_minus_paper"]) == pytest.approx(182 / 3 - 61)
    assert (lines[2]["row"], lines[2]["measure"], lines[2]["n"]) == ("B_1", "accuracy", "3")
    assert float(lines[2]["mean"]) == pytest.approx(182 / 3)
    assert lines[1]["mean"] == ""


def test_json_is_strict(summary: Summary) -> None:
    content = rendering.as_json(summary, {"D · seed 0": "no luck"})
    text = json.dumps(strict(content), allow_nan=False)
    assert json.loads(text)["failures"] == {"D · seed 0": "no luck"}
    assert json.loads(text)["entries"][0]["values"] == pytest.approx({"0": 50.0, "1": 52.0, "2": 49.0})


@pytest.mark.parametrize(("value", "text"), [(None, "n/a"), (0.0004, "< 0.001"), (0.0123, "0.012"), (1.0, "1.000")])
def test_p_text(value: float | None, text: str) -> None:
    assert p_text(value) == text


def record(last: float, selected: float | None) -> dict[str, Any]:
    return {"results": {"last": {"accuracy": last}, "selected": None if selected is None else {"accuracy": selected}}}


def test_the_selected_epoch_stands_beside_the_last_where_there_is_one(content: dict[str, Any]) -> None:
    table = parse_table(content)
    without = summarize(table, [(cell, record(0.5, None)) for cell in table.cells()])
    assert not any("selected" in title for title in rendering.header(without))
    assert any("no cell has a validation part" in sentence for sentence in rendering.conditions(without))
    found = summarize(table, [(cell, record(0.5, 0.6 if cell.row == "A" else None)) for cell in table.cells()])
    place = rendering.header(found).index("accuracy, selected epoch")
    assert [line[place] for line in rendering.body(found)] == ["60.0 ± 0.0", "n/a"]
    assert any("validation part selected" in sentence for sentence in rendering.conditions(found))


def test_a_gate_of_the_paper_has_a_verdict(content: dict[str, Any]) -> None:
    content["rows"] = [
        {"name": "A", "paper": {"accuracy": [49.0, 51.0]}},
        {"name": "B", "paper": {"accuracy": [60.0, 61.0]}},
        {"name": "C", "paper": {"accuracy": 50.0}},
        {"name": "D"},
    ]
    table = parse_table(content)
    summary = summarize(table, [(cell, record(0.5, None)) for cell in table.cells()], {("D", ""): "data absent"})
    titles = rendering.header(summary)
    shown = [titles.index(title) for title in ("accuracy, paper", "ours - paper", "against the paper")]
    assert [[line[place] for place in shown] for line in rendering.body(summary)] == [
        ["49.0 to 51.0", "+0.0", "inside"],
        ["60.0 to 61.0", "-10.0", "below"],
        ["50.0", "+0.0", "n/a"],
        ["n/a", "n/a", "n/a"],
    ]
    assert "Against the ranges: A inside; B below." in " ".join(rendering.conditions(summary))


def test_a_cell_without_its_dataset_says_so_in_every_form(content: dict[str, Any]) -> None:
    table = parse_table(content)
    cells = [(cell, record(0.5, None) if cell.row == "A" else None) for cell in table.cells()]
    summary = summarize(table, cells, {("B", ""): "data absent"})
    for text in (rendering.markdown(summary), rendering.latex(summary), rendering.csv_text(summary)):
        assert "data absent" in text
