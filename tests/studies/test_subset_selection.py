"""The study of representative subsets: lists, table and statistics, with trainings that take no time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies import running, subset_selection
from semscale_pl.studies.subset_selection import check, draw, entries, run, table_of
from semscale_pl.tables.engine import TableResult
from semscale_pl.tables.schema import Table, parse_table

ARGUMENTS: dict[str, Any] = {
    "dataset": "mnist", "side": 2, "pool": 12, "methods": ["random", "greedy", "k_centre"], "sizes": [2, 5],
    "epochs": [2, 1], "seeds": [0, 1], "keep_volume": 0.9, "overrides": ["backbone=small_cnn"],
}  # fmt: skip


def made(_dataset: str, _split: str, side: int) -> LoadedFeatures:
    labels = torch.arange(3).repeat(20)
    features = torch.randn(60, side * side, generator=torch.Generator().manual_seed(0))
    return LoadedFeatures(features, labels, ("a", "b", "c"))


class Run:
    """A cell with a result."""

    folder = Path()

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def metrics(self) -> Mapping[str, Any]:
        """Read the cell's list as a training would, and return the largest position as its accuracy."""
        file = next(text for text in self.cell.overrides if text.startswith("imbalance.file=")).partition("=")[2]
        rows = json.loads(Path(file.replace("${seed}", str(self.cell.seed))).read_text())
        assert len(rows) == len(set(rows))
        return {"results": {"last": {"balanced_accuracy": len(rows) / 100.0}}}


def test_runs_from_end_to_end_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Table] = []

    def run_table(table: Table, root: Path, *, jobs: int) -> TableResult:
        tables.append(table)
        return TableResult(None, tuple(Run(cell) for cell in table.cells()), {}, 0)  # type: ignore[arg-type]

    monkeypatch.setattr(subset_selection, "load_pixels", made)
    monkeypatch.setattr(running, "run_table", run_table)
    result = strict(run(ARGUMENTS, tmp_path, 1, lambda line: None))
    assert [(entry["method"], entry["size"]) for entry in result["entries"]] == [
        (method, size) for size in (2, 5) for method in ARGUMENTS["methods"]
    ]
    assert [entry["values"] for entry in result["entries"]] == [[6.0, 6.0]] * 3 + [[15.0, 15.0]] * 3
    first = result["entries"]
    assert first[1]["scale"] > first[0]["scale"]
    assert first[1]["coverage"] >= first[0]["coverage"]
    assert {entry["method"] for entry in result["shrunk"]} == set(ARGUMENTS["methods"])
    assert all(entry["least_share"] >= 0.9 for entry in result["shrunk"])
    assert as_pixels(draw(result)).std() > 0
    assert len(tables[0].cells()) == 12


def test_each_training_reads_its_own_list() -> None:
    table = parse_table({**table_of(ARGUMENTS, Path("lists")), "measures": [{"name": "accuracy", "key": "a"}]})
    overrides = {cell.label: cell.overrides for cell in table.cells()}
    assert "imbalance.file=lists/greedy_5_${seed}.json" in overrides["greedy k=5 · seed 1"]
    assert "trainer.max_epochs=1" in overrides["greedy k=5 · seed 1"]
    assert "trainer.max_epochs=2" in overrides["random k=2 · seed 0"]


def test_differences_are_paired_with_the_random_choice() -> None:
    accuracies = {
        (method, size, seed): 50.0 + size + seed + (3.0 + seed if method == "greedy" else 0.0)
        for method in ARGUMENTS["methods"]
        for size in (2, 5)
        for seed in (0, 1)
    }
    found = entries(ARGUMENTS, accuracies, dict.fromkeys(accuracies, (1.0, 2.0)))
    assert "difference" not in found[0]
    assert found[1]["difference"]["mean"] == pytest.approx(3.5)
    assert found[1]["difference"]["holm"] >= found[1]["difference"]["p_value"]
    assert (found[1]["scale"], found[1]["coverage"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["greedy"]}, "with 'random' to compare with"),
        ({"methods": ["random", "best"]}, "Expected `methods` to be among"),
        ({"epochs": [1]}, "one number for each of `sizes`"),
        ({"sizes": [2, 13]}, "from 1 to the pool's 12"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check({**ARGUMENTS, **changes})
