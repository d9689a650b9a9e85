"""Rows that are heads of one training: it runs once, and each row is that head's record; tuned second stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.tables.cache import locate, of_head
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.schema import Table, parse_table

QUICK = ["dataset=digits_lt", "backbone.width=4", "trainer.max_epochs=1", "dataset.batch_size=256", "logger=csv"]
ACCURACY = {"name": "accuracy", "key": "results.last.balanced_accuracy", "paired": True}


def table(rows: list[dict[str, Any]], **more: Any) -> Table:
    content = {"name": "shared", "base": QUICK, "rows": rows, "seeds": [0], "measures": [ACCURACY], **more}
    return parse_table(content)


HEADS = [{"name": name, "head": name} for name in ("trained", "fused", "ncm")]
OTHER = [{"name": "BS fused", "head": "fused", "overrides": ["loss=balanced_softmax"]}, {"name": "alone"}]


def test_cells_share_a_run_where_only_their_head_differs(tmp_path: Path) -> None:
    shared = table([*HEADS, *OTHER])
    runs = locate(shared, shared.cells(), tmp_path)
    assert [run.folder == runs[0].folder for run in runs] == [True, True, True, False, False]
    also = [next((one for one in run.cell.overrides if one.startswith("also=")), None) for run in runs]
    assert also == ["also=[fused,ncm]"] * 3 + ["also=[fused]", None]
    alone = locate(table(HEADS[:1]), table(HEADS[:1]).cells(), tmp_path)
    assert alone[0].folder == runs[4].folder  # a trained head alone is a run like any other


def test_a_cell_is_the_record_of_its_head() -> None:
    results = {"last": {"top1": 0.1}, "selected": {"top1": 0.2}, "fused": {"top1": 0.3}}
    record = {"seed": 1, "results": results, "also": {"fused": {"chosen": {"weight": 1.0}}}, "recipe": None}
    record["correlations"] = {"last": 1, "fused": 2}
    fused = of_head(record, "fused")
    assert fused["results"] == {"last": {"top1": 0.3}, "selected": None}
    assert (fused["recipe"], fused["correlations"]) == ({"name": "fused", "chosen": {"weight": 1.0}}, {"last": 2})
    assert of_head(record, "trained")["results"] == {"last": {"top1": 0.1}, "selected": {"top1": 0.2}}
    untested = {**record, "results": {"last": None, "validation": {"top1": 0.4}, "fused": {"top1": 0.5}}}
    assert of_head(untested, "fused")["results"] == {"last": None, "selected": None, "validation": {"top1": 0.5}}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"head": "gauss"}, "Expected `head` of the row A to be one of trained, gaussian, fused"),
        ({"head": "fused", "overrides": ["recipe=crt"]}, "without `also` and `recipe` in its overrides"),
        ({"head": "fused", "overrides": ["also=[ncm]"]}, "Name the head by `head` alone"),
    ],
)
def test_wrong_heads_are_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table([{"name": "A", **row}])


def test_heads_and_tuned_second_stages_run_end_to_end(tmp_path: Path) -> None:
    tuned = {"name": "tuned", "overrides": ["recipe=fused"], "tune": {"recipe.weight": [1.0, 2.0]}}
    tune = {"grid": {"optimizer.lr": [0.05, 0.1]}, "seeds": [9], "base": ["dataset.validation_per_class=2"]}
    result = run_table(table([*HEADS, tuned], tune=tune), tmp_path, jobs=1)
    assert dict(result.failures) == {}
    assert result.num_trained in (
        4 + 2,
        4 + 3,
        4 + 4,
    )  # two networks of two settings, then a cell's for each that was chosen
    rows = {run.cell.row: run for run in result.runs}
    assert rows["tuned"].metrics()["recipe"]["chosen"]["weight"] in (1.0, 2.0)  # type: ignore[index]
    for run in result.tuning:
        found = run.metrics()
        assert found is not None
        assert found["results"]["last"] is None
        assert 0.0 <= found["results"]["validation"]["balanced_accuracy"] <= 1.0
    trials = [run for run in result.tuning if run.cell.row != "tuned"]
    assert (len(trials), len({run.folder for run in trials})) == (6, 2)
    for name in ("trained", "fused", "ncm"):
        whole = json.loads((rows[name].folder / "metrics.json").read_text())
        own = whole["results"]["last" if name == "trained" else name]
        assert rows[name].metrics()["results"]["last"] == own  # type: ignore[index]
    figures = {name: run.metrics()["results"]["last"]["balanced_accuracy"] for name, run in rows.items()}  # type: ignore[index]
    shown = {entry.row: dict(entry.values)[0] for entry in result.summary.entries if entry.measure.name == "accuracy"}
    assert shown == pytest.approx(figures)
    assert run_table(table([*HEADS, tuned], tune=tune), tmp_path).num_trained == 0
