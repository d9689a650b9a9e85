"""Controls of a row: the rows and contrasts that one key adds, their grids, what is refused, what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from semscale_pl.config.composing import experiments_dir
from semscale_pl.tables.aggregate import summarize
from semscale_pl.tables.cache import compose_all
from semscale_pl.tables.controls import CONTROLS
from semscale_pl.tables.rendering import as_json, controls_body, controls_header, latex, markdown
from semscale_pl.tables.schema import load_table, parse_table
from semscale_pl.tables.sentences import verdict

DSB = {"name": "DSB", "overrides": ["level=0.6", "reweighting=semantic_scale", "reweighting.start_epoch=1"]}
PLAIN = {"name": "CE", "overrides": ["reweighting=none"]}
TUNE = {"grid": {"lr": [1, 2], "reweighting.alpha": [1, 2]}, "seeds": [9], "base": ["held=1"]}


def names(content: dict[str, Any]) -> list[str]:
    return [row.name for row in parse_table(content).rows]


def test_a_row_gets_rows_that_differ_in_the_reweighting_alone_and_contrasts(content: dict[str, Any]) -> None:
    asked = ["count_matched", "strength_matched"]
    table = parse_table({**content, "rows": [PLAIN, {**DSB, "controls": asked}, {"name": "C"}]})
    assert [row.name for row in table.rows] == ["CE", "DSB", "DSB: count matched", "DSB: strength matched", "C"]
    start = ("level=0.6",)
    assert table.rows[2].overrides == (*start, "reweighting=count_matched", "reweighting.start_epoch=1")
    power = ("reweighting=power_of_count", "reweighting.match=semantic_scale")
    assert table.rows[3].overrides == (*start, *power, "reweighting.start_epoch=1")
    assert table.contrasts == (("DSB", "DSB: count matched"), ("DSB", "DSB: strength matched"))
    assert table.controlled == {"DSB": ("DSB: count matched", "DSB: strength matched")}
    assert len(table.cells()) == 5 * 2


def test_controls_of_a_table_are_of_its_rows_with_scales_unless_these_say_otherwise(content: dict[str, Any]) -> None:
    own, none = {**DSB, "name": "own", "controls": ["frozen_scale"]}, {**DSB, "name": "none", "controls": []}
    table = {**content, "rows": [PLAIN, DSB, own, none], "controls": ["count_matched"]}
    assert names(table) == ["CE", "DSB", "DSB: count matched", "own", "own: frozen scale", "none"]
    profile = {**content, "rows": [PLAIN, DSB], "profiles": {"all": {"controls": ["shuffled_residual"]}}}
    assert [row.name for row in parse_table(profile, "all").rows] == ["CE", "DSB", "DSB: shuffled residual"]


def test_a_reweighting_of_the_base_is_replaced_too(content: dict[str, Any]) -> None:
    rows = [{"name": "A"}, {"name": "B", "overrides": ["reweighting=none"]}]
    table = {**content, "base": ["reweighting=scale_only"], "rows": rows, "controls": ["count_matched"]}
    control = parse_table(table).rows[1]
    assert control.overrides == ("reweighting=count_matched", "reweighting.interclass=false")
    assert names(table) == ["A", "A: count matched", "B"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controls": "count_matched"}, "Expected `controls` to be a list of some of count_matched, shuffled_residual"),
        ({"controls": ["count"]}, "strength_matched, but got .*count"),
        ({"controls": ["frozen_scale", "frozen_scale"]}, "Expected `controls` to name each control once"),
        ({"rows": [{**DSB, "controls": ["x"]}]}, "Expected `controls of the row DSB` to be a list of some of"),
        (
            {"rows": [{**PLAIN, "controls": ["count_matched"]}]},
            "reweighting=semantic_scale or .* but got reweighting=none",
        ),
        ({"rows": [{"name": "A", "controls": ["count_matched"]}]}, "but got no reweighting. Give it one"),
        ({"rows": [PLAIN], "controls": ["count_matched"]}, "for the table's `controls`, but none has"),
        (
            {"rows": [{**DSB, "controls": ["count_matched"]}, {"name": "DSB: count matched"}]},
            "names of `rows` to differ",
        ),
    ],
)
def test_refuses(content: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_table({**content, **change})


def test_a_tuned_table_tunes_the_power_of_the_count_in_as_many_trials(content: dict[str, Any]) -> None:
    row = {**DSB, "tune": {"loss.tau": [1, 2], "reweighting.power": [1, 2]}, "controls": list(CONTROLS)}
    table = parse_table({**content, "rows": [row, PLAIN], "tune": TUNE})
    axes = {one.name: dict(one.tune) for one in table.rows}
    own = {"loss.tau": ("1", "2"), "reweighting.power": ("1", "2")}
    assert axes["DSB: count matched"] == axes["DSB: frozen scale"] == axes["DSB: strength matched"] == own
    assert axes["DSB: power of count"] == {
        "loss.tau": ("1", "2"),
        "reweighting.alpha": (),
        "reweighting.p": ("0.5", "0.25", "0.75", "1.0"),
    }
    trials = {one.name: {c.trial for c in table.trials() if c.row == one.name} for one in table.rows}
    assert set(map(len, trials.values())) == {4}
    tried = {entry for cell in table.trials() if cell.row == "DSB: power of count" for entry in cell.overrides}
    assert {"reweighting.p=0.25", "reweighting.p=1.0"} <= tried
    assert not any(entry.startswith("reweighting.alpha") for entry in tried)
    given = {**TUNE, "grid": {"lr": [1, 2], "reweighting.p": [1, 2]}}
    table = parse_table({**content, "rows": [{**DSB, "controls": ["power_of_count"]}], "tune": given})
    assert dict(table.rows[1].tune) == {}


def test_the_controls_of_an_experiment_have_valid_configurations() -> None:
    table = load_table(experiments_dir() / "digits_controls.yaml")
    assert len(table.rows) == 11
    shown = ("DSB-BS: ", "DSB-CE: strength")
    first = [cell for cell in table.cells() if cell.seed == 0 and cell.row.startswith(shown)]
    found = {cell.row: config["reweighting"] for cell, config in zip(first, compose_all(table, first), strict=True)}
    assert len(found) == 5
    assert found["DSB-BS: count matched"]["start_epoch"] == found["DSB-BS: power of count"]["start_epoch"] == 5
    assert found["DSB-CE: strength matched"]["match"] == "semantic_scale"
    assert found["DSB-BS: shuffled residual"]["seed"] == "${seed}"
    tried = [cell for cell in table.trials() if cell.row == "DSB-BS: power of count" and cell.seed == 100]
    assert len({config["reweighting"]["p"] for config in compose_all(table, tried)}) > 2


def summary_of(content: dict[str, Any], levels: dict[str, float], **keys: Any) -> Any:
    table = parse_table({**content, "rows": [PLAIN, {**DSB, "controls": ["count_matched", "frozen_scale"]}], **keys})
    wobble = {0: 0.0, 1: 0.002, 2: -0.001}
    records = [
        (cell, {"results": {"last": {"accuracy": levels[cell.row] + wobble[cell.seed] * (len(cell.row) + 1) / 9}}})
        for cell in table.cells()
    ]
    return summarize(table, records)


LEVELS = {"CE": 0.5, "DSB": 0.6, "DSB: count matched": 0.55, "DSB: frozen scale": 0.6}


@pytest.mark.parametrize("keys", [{}, {"primary": ["DSB", "DSB: count matched"]}], ids=["plain", "primary"])
def test_the_block_says_which_controls_a_row_beats(content: dict[str, Any], keys: dict[str, Any]) -> None:
    summary = summary_of({**content, "seeds": [0, 1, 2]}, LEVELS, **keys)
    assert controls_header(summary)[:3] == ["method", "control", "accuracy"]
    first, second = controls_body(summary)
    assert (first[0], first[1], first[-1]) == ("DSB", "count matched", "better than")
    assert first[4].startswith("+4.9 [+")
    assert (second[1], second[-1]) == ("frozen scale", "not told apart from")
    text = markdown(summary)
    assert "Against their controls:\n\n| method | control | accuracy | control's | difference | p |" in text
    (said,) = (one for one in verdict(summary) if one.startswith("Controls: "))
    assert said == (
        "Controls: DSB is better than count matched; not told apart from frozen scale: it does not beat every control, "
        "as a gain by S itself would."
    )
    assert not any("DSB: frozen scale:" in one for one in verdict(summary)), "the block has it"
    assert as_json(summary, {})["controls"] == {"DSB": ["DSB: count matched", "DSB: frozen scale"]}
    assert "% Controls: DSB is better" in latex(summary)


def test_a_row_that_beats_them_all(content: dict[str, Any]) -> None:
    levels = {**LEVELS, "DSB: frozen scale": 0.52}
    summary = summary_of({**content, "seeds": [0, 1, 2]}, levels)
    assert "Controls: DSB is better than count matched, frozen scale: it beats every control." in verdict(summary)


def test_a_table_without_controls_says_nothing_of_them(content: dict[str, Any]) -> None:
    summary = summarize(parse_table(content), [])
    assert "controls" not in markdown(summary)
    assert "controls" not in as_json(summary, {})
