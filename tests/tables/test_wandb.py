"""Two cells of a table, trained one after the other in one process, land as two labelled runs in one W&B project."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from offline_wandb import read_finished

from semscale_pl.tables.cache import locate
from semscale_pl.tables.cell_training import task_of, train_cell
from semscale_pl.tables.schema import parse_table

CONTENT = {
    "name": "tiny",
    "profile": "",
    "rows": [
        {"name": "CE", "overrides": ["reweighting=none"]},
        {"name": "DSB, 'power' 2", "overrides": ["reweighting=semantic_scale", "reweighting.start_epoch=1"]},
    ],
    "columns": [{"name": "digits"}],
    "base": ["dataset=digits_lt", "trainer.max_epochs=2", "dataset.validation_per_class=1", "dataset.batch_size=256"],
    "seeds": [3],
    "measures": [{"name": "accuracy", "key": "results.last.balanced_accuracy"}],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train both cells offline and read the runs back."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
            patch.setenv(name, value)
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(folder / "cache"))
        table = parse_table({key: value for key, value in CONTENT.items() if key != "profile"})
        cells = locate(table, table.cells(["logger=wandb", "logger.wandb.project=ours"]), folder)
        for cell in cells:
            assert train_cell(task_of(table, cell)) is None, (cell.folder / "log.txt").read_text()
        assert sys.modules["wandb"].run is None
        records = [cell.metrics() for cell in cells]
        return list(zip([read_finished(cell.folder, 1)[0] for cell in cells], records, strict=True))


def test_each_cell_is_a_run_with_group_tags_and_job_type(runs: Any) -> None:
    (first, _), (second, _) = runs
    assert first.run.run_id != second.run.run_id
    assert {run.run.project for run, _ in runs} == {"ours"}
    assert {run.run.run_group for run, _ in runs} == {"tiny"}
    assert [run.run.job_type for run, _ in runs] == ["CE", "DSB, 'power' 2"]
    assert first.run.display_name == "CE · digits · seed 3"
    assert list(second.run.tags) == ["table:tiny", "row:DSB, 'power' 2", "column:digits", "seed:3"]
    assert [run.exit_code for run, _ in runs] == [0, 0]


def test_the_summary_is_the_record(runs: Any) -> None:
    for run, record in runs:
        for epoch in ("last", "selected"):
            for name in ("balanced_accuracy", "top1", "tail", "bias"):
                assert run.summary[f"{epoch}/{name}"] == pytest.approx(record["results"][epoch][name])
        assert run.summary["correlation/S/pearson"] == pytest.approx(
            record["correlations"]["last"]["S"]["pearson"]["value"]
        )
        assert (run.summary["index_hash"], run.summary["seed"]) == (record["index_hash"], 3)
        assert run.summary["cost/seconds"] > 0


def test_the_axes_are_epoch_and_step(runs: Any) -> None:
    for run, _ in runs:
        assert {"epoch", "trainer/global_step"} <= set(run.axes)
        assert {run.axes[f"{group}/*"] for group in ("classes", "train", "val", "weighting")} == {"epoch"}
        epochs = [row["epoch"] for row in run.history if "train/balanced_accuracy" in row]
        assert epochs == [0, 1]
        assert all("trainer/global_step" in row for row in run.history if "train/loss" in row)


def test_per_class_tables_are_there(runs: Any) -> None:
    for run, _ in runs:
        tables = {key for row in run.history for key in row if row.get(key) == "table-file"}
        assert {"classes/table/_type", "classes/result/_type", "classes/history/_type"} <= tables
        assert any(row.get("classes/heatmaps/_type") == "image-file" for row in run.history)
        # What a workspace would draw a curve of: none for each class.
        curves = {key for row in run.history for key, value in row.items() if isinstance(value, int | float)}
        assert not [key for key in curves if re.match(r"classes/\w+/\d+$", key)]


def test_the_config_is_the_run_s(runs: Any) -> None:
    config, record = runs[1][0].config, runs[1][1]
    assert config["reweighting"] == record["config"]["reweighting"]
    assert (config["seed"], config["trainer"]["max_epochs"]) == (3, 2)
