"""Tuned tables: chosen by the validation part alone, on seeds of its own, run again with what was chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.cli.main import main
from semscale_pl.config.composing import experiments_dir
from semscale_pl.tables import cache, engine
from semscale_pl.tables.cache import CellRun, compose_all, locate
from semscale_pl.tables.cell_training import Failure, Outcome, outcome_of
from semscale_pl.tables.engine import TableResult, run_table, save_table
from semscale_pl.tables.packing import read_pack, write_pack
from semscale_pl.tables.publishing import publish
from semscale_pl.tables.schema import Table, load_table, parse_table
from semscale_pl.tables.sources import Sources
from semscale_pl.tables.tuning import choose, header, sentences


@pytest.fixture
def tuned(content: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a table that tunes: the best rate is 2 on the validation part, the largest on the test set."""
    tune = {"grid": {"rate": [1, 2, 3]}, "seeds": [90, 91], "base": ["root=apart"]}
    return {**content, "tune": tune}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train cells here, one after another, and note their labels."""
    labels: list[str] = []
    sources = Sources()
    monkeypatch.setattr(cache, "Sources", lambda: sources)

    def run(table: Table, runs: Sequence[CellRun], *_: Any) -> Any:
        for one in runs:
            labels.append(one.cell.label)
            yield outcome(one)

    monkeypatch.setattr(engine, "run_cells", run)
    return labels


def outcome(run: CellRun) -> Outcome:
    """Leave what a training does: a rate of 2 is best on the validation part, the largest one on the test set."""
    settings = dict(override.split("=", 1) for override in run.cell.overrides)
    rate, seed = float(settings.get("rate", 0)), run.cell.seed
    if rate > 8:
        return outcome_of(run, 0.0, Failure("TrainingDiverged: the loss is not finite"))
    results: dict[str, Any] = {"last": {"accuracy": rate + 0.01 * seed}}
    if settings.get("test") == "false":
        validation = {"balanced_accuracy": 0.9 - 0.1 * abs(rate - 2) + 0.002 * (seed - 90)}
        results = {"last": None, "selected": None, "validation": validation}
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "metrics.json").write_text(json.dumps({"seed": seed, "results": results}))
    return outcome_of(run, 0.0, None)


def chosen(result: TableResult) -> dict[str, Any]:
    return {choice.label: choice.chosen and dict(choice.chosen.setting) for choice in result.summary.choices}


def test_cells_run_on_fresh_seeds_with_what_the_validation_part_chose(
    tuned: dict[str, Any], tmp_path: Path, in_this_process: list[str]
) -> None:
    result = run_table(parse_table(tuned), tmp_path)
    assert chosen(result) == {"A": {"rate": "2"}, "B": {"rate": "2"}}
    assert result.summary.choices[0].trials[1].figure == pytest.approx(0.901), "the mean over both tuning seeds"
    assert result.summary.entry("A", "", result.summary.table.focus).values == {0: 200.0, 1: pytest.approx(201.0)}
    assert in_this_process[:2] == ["A · trial 1 · seed 90", "B · trial 1 · seed 90"]
    assert len(in_this_process) == 2 * 3 * 2 + 4
    assert run_table(parse_table(tuned), tmp_path).num_trained == 0


def test_another_figure_of_the_validation_part_chooses(tuned: dict[str, Any], tmp_path: Path) -> None:
    tuned["tune"]["figure"] = "recall_at_1"
    table = parse_table(tuned)
    runs = run_table(table, tmp_path).tuning
    for run in runs:  # the other way round than the balanced accuracy
        record = run.metrics() or {}
        record["results"]["validation"]["recall_at_1"] = 0.5 + 0.1 * run.cell.trial
        (run.folder / "metrics.json").write_text(json.dumps(record))
    result = run_table(table, tmp_path)
    assert chosen(result) == {"A": {"rate": "3"}, "B": {"rate": "3"}}
    assert "settings by Recall@1 at the last epoch on a validation part" in sentences(table, result.summary.choices)[0]
    assert header(table, result.summary.choices)[2] == "validation Recall@1 (%)"
    tuned["tune"]["figure"] = "recall"
    with pytest.raises(ValueError, match=r"Expected `tune.figure` to be one of balanced_accuracy, recall_at_1"):
        parse_table(tuned)


def test_nothing_of_the_test_set_can_be_chosen_by(tuned: dict[str, Any], tmp_path: Path) -> None:
    table = parse_table(tuned)
    runs = run_table(table, tmp_path).tuning
    assert [config["test"] for config in compose_all(table, [run.cell for run in runs])] == [False] * len(runs)
    assert all((run.metrics() or {})["results"]["last"] is None for run in runs)
    record = runs[0].metrics() or {}
    record["results"]["last"] = {"accuracy": 0.99}
    (runs[0].folder / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="Expected tuning runs without a test"):
        choose(table, runs)


def test_changed_test_results_change_no_choice(tuned: dict[str, Any], tmp_path: Path) -> None:
    before = run_table(parse_table(tuned), tmp_path)
    for run in before.runs:
        record = run.metrics() or {}
        record["results"]["last"]["accuracy"] = 0.0
        (run.folder / "metrics.json").write_text(json.dumps(record))
    after = run_table(parse_table(tuned), tmp_path)
    assert chosen(after) == chosen(before)
    assert after.summary.entry("A", "", after.summary.table.focus).values == {0: 0.0, 1: 0.0}


def test_rows_get_as_many_trials_with_keys_of_their_own(tuned: dict[str, Any], tmp_path: Path) -> None:
    tuned["rows"][1]["tune"] = {"level": [0.1, 0.2]}
    table = parse_table(tuned)
    result = run_table(table, tmp_path)
    assert [len(choice.trials) for choice in result.summary.choices] == [3, 3]
    assert set(chosen(result)["B"]) == {"rate", "level"}
    assert "Keys of their own, within as many trials: B level 0.1, 0.2." in sentences(table, result.summary.choices)[0]


def test_a_choice_for_each_column_or_one_for_all(tuned: dict[str, Any], tmp_path: Path) -> None:
    tuned["columns"] = [{"name": "x"}, {"name": "y", "overrides": ["subset_seed=5"]}]
    both = run_table(parse_table(tuned), tmp_path)
    assert list(chosen(both)) == ["A", "B"]
    tuned["tune"]["per"] = "column"
    each = run_table(parse_table(tuned), tmp_path)
    assert list(chosen(each)) == ["A · x", "A · y", "B · x", "B · y"]
    assert each.num_trained == 0, "the same runs, looked at in another way"


def test_the_edge_of_the_grid_is_named(tuned: dict[str, Any], tmp_path: Path) -> None:
    tuned["tune"]["grid"] = {"rate": [3, 4, 5]}
    result = run_table(parse_table(tuned), tmp_path)
    assert "A: chosen on the grid's edge: rate=3 (of 3 to 5)." in engine.conditions(result.summary)
    tuned["tune"]["grid"] = {"rate": [3, 4]}
    said = " ".join(engine.conditions(run_table(parse_table(tuned), tmp_path).summary))
    assert "Of two values either is an edge of the grid: rate." in said
    assert "chosen on the grid's edge" not in said


def test_a_setting_that_diverges_is_out_and_not_tried_again(
    tuned: dict[str, Any], tmp_path: Path, in_this_process: list[str]
) -> None:
    tuned["tune"]["grid"] = {"rate": [9, 3, 2]}
    table = parse_table(tuned)
    result = run_table(table, tmp_path)
    assert (chosen(result)["A"], result.failures) == ({"rate": "2"}, {})
    assert "A: out, as a run of it diverged: rate=9." in engine.conditions(result.summary)
    in_this_process.clear()
    run_table(table, tmp_path)
    assert in_this_process == []


def test_where_all_settings_diverge_the_row_has_failed(tuned: dict[str, Any], tmp_path: Path) -> None:
    tuned["tune"]["grid"] = {"rate": [9, 10]}
    result = run_table(parse_table(tuned), tmp_path)
    assert result.failures == dict.fromkeys("AB", "all its settings diverged, so that none can be chosen")
    assert result.runs == ()
    with pytest.raises(ValueError, match="all rows to be tuned before publishing"):
        publish(result, tmp_path / "results")


def test_goes_on_where_it_was_cut_and_has_no_cells_before_the_choice(
    tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, whole = parse_table(tuned), engine.run_cells
    with monkeypatch.context() as patch:
        patch.setattr(engine, "run_cells", lambda its, runs, *_: whole(its, list(runs)[:5]))
        cut = run_table(table, tmp_path)
    assert (cut.num_trained, len(cut.unfinished), cut.runs) == (5, 7, ())
    assert chosen(cut) == {"A": None, "B": None}
    assert run_table(table, tmp_path).num_trained == 7 + 4


def test_a_pack_carries_the_tuning_runs(tuned: dict[str, Any], tmp_path: Path, in_this_process: list[str]) -> None:
    tuned["tune"]["grid"] = {"rate": [9, 3, 2]}
    table = parse_table(tuned)
    there = run_table(table, tmp_path / "there")
    runs = (*there.tuning, *there.runs)
    files = write_pack(there.summary.table, runs, (), {}, tmp_path / "pack.tar.gz")
    arrived = read_pack(table, (), tmp_path / "here", files[0])
    assert len(arrived.new) == len(runs) - 4, "the diverged ones have no result"
    in_this_process.clear()
    here = run_table(table, tmp_path / "here", train=False)
    assert (chosen(here), here.unfinished, here.failures) == (chosen(there), {}, {})
    assert [entry.values for entry in here.summary.entries] == [entry.values for entry in there.summary.entries]
    assert run_table(table, tmp_path / "here").num_trained == 0
    assert in_this_process == []


def test_what_was_chosen_is_shown_and_published(tuned: dict[str, Any], tmp_path: Path) -> None:
    result = run_table(parse_table(tuned), tmp_path)
    save_table(result, tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| method | chosen | validation balanced accuracy (%) | worst to best trial | trials |" in text
    assert "| A | rate=2 | 90.1 | 80.1 to 90.1 | 3 |" in text
    folder = publish(result, tmp_path / "results")
    found = json.loads((folder / "tuning.json").read_text())
    assert (found["trials"], found["seeds"], found["choices"][1]["chosen"]) == (3, [90, 91], {"rate": "2"})
    assert [run["validation"] for run in found["runs"][:2]] == [pytest.approx(0.8)] * 2
    assert json.loads((folder / "table.json").read_text())["tuning"]["base"] == ["root=apart"]


def test_tuning_leaves_the_keys_of_untuned_tables_alone(content: dict[str, Any], tuned: dict[str, Any]) -> None:
    plain, tuning = parse_table(content), parse_table(tuned)
    assert plain.cells() == tuning.cells()
    first, second = (locate(table, table.cells(), Path("root")) for table in (plain, tuning))
    assert [run.folder for run in first] == [run.folder for run in second]
    assert not {run.folder for run in locate(tuning, tuning.trials(), Path("root"))} & {run.folder for run in first}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 90]}, r"none in common, but got \[90\] in both"),
        ({"tune": None, "rows": [{"name": "A", "tune": {"rate": [1]}}]}, "the table to have `tune`, as the row A has"),
        ({"columns": [{"name": "x", "tune": {"rate": [1]}}]}, "`columns` to hold mappings of name, overrides, paper"),
    ],
)
def test_wrong_tables_are_refused(tuned: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_table({**tuned, **change})


def test_an_override_of_what_is_tuned_is_refused(tuned: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected overrides without rate, which the table tunes, but got rate=7"):
        run_table(parse_table(tuned), tmp_path, overrides=["rate=7"])


def test_seeds_of_the_call_may_not_be_tuning_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "digits_tuned", "seeds=100,7"]) == 2
    assert "`tune.seeds` and `seeds` to have none in common, but got [100]" in capsys.readouterr().err


def test_settings_compose_as_hydra_composes_them() -> None:
    table = load_table(experiments_dir() / "digits_tuned.yaml")
    cells = table.trials()[5:7]
    apart = [cell.__class__(cell.row, cell.column, cell.seed, cell.overrides) for cell in cells]
    assert compose_all(table, cells) == compose_all(table, apart)
    assert [config["dataset"]["class_order"] for config in compose_all(table, cells)] == ["permuted"] * 2


def heads(*overrides: str, tune: dict[str, Any] | None = None) -> Table:
    row = {"name": "tau", "overrides": ["recipe=tau_norm", *overrides], "tune": tune or {}}
    grid = {"grid": {"optimizer.lr": [0.1, 0.2]}, "seeds": [90], "base": ["dataset.validation_fraction=0.2"]}
    measure = {"name": "accuracy", "key": "results.last.balanced_accuracy"}
    return parse_table({"name": "heads", "rows": [row], "seeds": [0], "measures": [measure], "tune": grid})


def test_a_second_stage_chooses_nothing_of_its_own_in_tuning_runs() -> None:
    table = heads()
    with pytest.raises(ValueError, match=r"Expected recipe\.tau to be given in a table that tunes, but got null"):
        compose_all(table, table.trials())
    for table in (heads("recipe.tau=0.5"), heads(tune={"recipe.tau": [0.5, 1.0]})):
        assert all(config["recipe"]["tau"] is not None for config in compose_all(table, table.trials()))


def test_the_tuned_profile_of_heads_gives_its_recipes_their_settings() -> None:
    table = load_table(experiments_dir() / "heads.yaml", "tuned")
    assert [row.name for row in table.rows] == [row.name for row in load_table(experiments_dir() / "heads.yaml").rows]
    assert table.base[0] == "dataset=features", "which needs a store"
    trials = replace(table, base=("dataset=digits_lt", *table.base[1:])).trials()
    assert len(trials) == 9 * 6 * 2
    first = [cell for cell in trials if cell.trial == 1 and cell.seed == 100]
    assert len(compose_all(table, first)) == 9


def test_cells_that_hold_out_a_part_of_their_own_are_said_to(
    tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = " ".join(engine.conditions(run_table(parse_table(tuned), tmp_path).summary))
    assert "on other seeds and all training images. Grid" in said
    whole = CellRun.metrics
    config = {"dataset": {"validation_per_class": 0, "validation_fraction": 0.2}}
    monkeypatch.setattr(CellRun, "metrics", lambda run: {**(whole(run) or {}), "config": config})
    said = " ".join(engine.conditions(run_table(parse_table(tuned), tmp_path).summary))
    assert "on other seeds and all training images but those of a validation part of their own. Grid" in said
