"""The record of a run: its contents against independent computations, strict JSON, and the order of writing."""

from __future__ import annotations

import csv
import json
import math
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from semscale_pl.geometry import class_geometry
from semscale_pl.training import record as record_module
from semscale_pl.training.record import diagnose, write_record

COUNTS = [40, 20, 9, 3, 1]
NAMES = ["cat", "dog", 'e,"m"u', "fox", "gnu"]
ACCURACY = [0.9, 0.7, 0.8, 0.2, None]
SCALES = {"S'": [9.0, 8.0, 4.0, 5.0, 0.0], "W": [0.5, 1.0, 0.7, 0.8, 0.9], "S": [0.5, 0.9, 0.3, 0.4, 0.0]}


def _datamodule(**more: Any) -> Any:
    values = {"class_counts": torch.tensor(COUNTS), "class_names": NAMES, "index_hash": "abc", "num_classes": 5}
    return SimpleNamespace(**values, train_size=sum(COUNTS), **more)


def _report(accuracy: list[float | None] = ACCURACY) -> dict[str, Any]:
    per_class = {"accuracy": accuracy, "precision": [0.5] * 5, "average_precision": [None] * 5}
    return {"top1": 0.75, "many": None, "per_class": per_class, "confusion_matrix": [[1] * 5] * 5, "ece": math.nan}


def _write(folder: Path, **more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"results": {"last": _report()}, "scales": SCALES, "config": {"seed": 3}, **more}
    return write_record(folder, datamodule=_datamodule(), module=nn.Linear(1, 1), **arguments)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in a strict record")


def test_the_record_is_strict_json_with_all_its_parts(tmp_path: Path) -> None:
    written = _write(
        tmp_path, seconds=1.5, completed_epochs=4, further_cost={"fit_seconds": 1.0}, extra={"reweighting": "x"}
    )
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=_refuse)
    assert read == written
    assert read["seed"] == read["subset_seed"] == 3
    assert (read["index_hash"], read["class_counts"], read["class_names"]) == ("abc", COUNTS, NAMES)
    assert read["results"]["last"]["top1"] == 0.75
    assert read["results"]["last"]["ece"] is None
    assert read["results"]["selected"] is None
    assert (read["completed_epochs"], read["interrupted"], read["reweighting"]) == (4, False, "x")
    assert read["cost"]["seconds"] == 1.5
    assert read["cost"]["fit_seconds"] == 1.0
    assert read["provenance"]["versions"]["torch"] == torch.__version__
    assert read["config"] == {"seed": 3}
    assert read["effective_numbers"]["beta"] == pytest.approx(72 / 73, abs=1e-15)


def test_the_subset_has_its_own_seed(tmp_path: Path) -> None:
    assert _write(tmp_path, config={"seed": 3, "subset_seed": 0})["subset_seed"] == 0
    assert _write(tmp_path, config={"seed": 3, "subset_seed": None})["subset_seed"] == 3


def test_correlations_are_those_of_scipy_over_the_defined_classes(tmp_path: Path) -> None:
    found = _write(tmp_path)["correlations"]["last"]
    effective = [(1 - (72 / 73) ** n) / (1 - 72 / 73) for n in COUNTS]
    accuracy = np.array(ACCURACY[:4], dtype=float)
    assert set(found) == {"n", "E_n", "S'", "W", "S"}
    for name, values in {"n": COUNTS, "E_n": effective, **SCALES}.items():
        defined = np.array(values[:4], dtype=float)
        interval = stats.pearsonr(defined, accuracy)
        assert found[name]["pearson"]["value"] == pytest.approx(interval.statistic, abs=1e-9)
        assert found[name]["spearman"]["value"] == pytest.approx(stats.spearmanr(defined, accuracy).statistic, abs=1e-9)
        assert found[name]["pearson"]["n"] == 4


def test_constant_accuracy_has_no_correlation(tmp_path: Path) -> None:
    found = _write(tmp_path, results={"last": _report([0.5] * 5)})["correlations"]["last"]
    assert found["n"]["pearson"]["value"] is None


def test_the_selected_epoch_is_correlated_too(tmp_path: Path) -> None:
    written = _write(tmp_path, results={"last": _report(), "selected": _report([0.1, 0.2, 0.3, 0.4, 0.5])})
    assert written["correlations"]["selected"]["n"]["spearman"]["value"] == pytest.approx(-1.0)


def test_per_class_table_holds_every_column(tmp_path: Path) -> None:
    _write(tmp_path)
    with (tmp_path / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["class_index", "class_name", "n", "E_n", "S'", "W", "S", "accuracy", "precision", "average_precision"]
    assert list(rows[0]) == columns
    assert [row["class_name"] for row in rows] == NAMES
    assert [row["n"] for row in rows] == [str(count) for count in COUNTS]
    assert [row["accuracy"] for row in rows] == ["0.9", "0.7", "0.8", "0.2", ""]
    assert [row["average_precision"] for row in rows] == [""] * 5
    assert float(rows[0]["S'"]) == 9.0
    assert float(rows[4]["E_n"]) == pytest.approx(1.0)


def test_an_interrupted_run_leaves_a_readable_record(tmp_path: Path) -> None:
    written = _write(tmp_path, results={"last": None}, scales=None, interrupted_by=["max_steps"], completed_epochs=2)
    assert written["interrupted"] is True
    assert written["correlations"] == {}
    assert written["scales"] == {"S'": [None] * 5, "W": [None] * 5, "S": [None] * 5}
    assert len((tmp_path / "per_class.csv").read_text().splitlines()) == 6


def test_metrics_are_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, text: str) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(record_module, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        _write(tmp_path)
    assert list(tmp_path.iterdir()) == []


class Doubling(nn.Module):
    """Features are twice the pixels; dropout and batch statistics would show if it ran in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(6, affine=False)

    def features(self, images: Tensor) -> Tensor:
        return self.dropout(self.norm(images * self.scale))


def test_diagnosis_is_the_measure_of_evaluation_mode_features() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 6, generator=generator)
    labels = torch.tensor([0] * 30 + [1] * 15 + [3] * 4 + [4])
    indices = torch.arange(50)
    loader = DataLoader(TensorDataset(images, labels, indices), batch_size=16)
    module = Doubling()
    module.train()
    module.norm.eval()
    found = diagnose(module, _datamodule(eval_train_dataloader=lambda: loader))
    assert (module.training, module.dropout.training, module.norm.training) == (True, True, False)
    assert module.norm.num_batches_tracked == 0
    features = (2 * images / math.sqrt(1 + 1e-5)).double().numpy()
    scales, centres = [], []
    for label in range(5):
        rows = features[labels.numpy() == label]
        if not len(rows):
            scales.append(math.nan)
            continue
        centres.append(rows.mean(0))
        z = rows - rows.mean(0)
        scales.append(0.5 * np.linalg.slogdet(np.eye(6) + 6 / len(rows) * z.T @ z)[1] / math.log(2))
    assert found["S'"][2] is None
    defined = [0, 1, 3, 4]
    assert [found["S'"][label] for label in defined] == pytest.approx([scales[label] for label in defined], abs=1e-4)
    distances = [sum(np.linalg.norm(a - b) for b in centres) / 3 for a in centres]
    weights = [math.log2(1 + distance / max(distances)) for distance in distances]
    assert [found["W"][label] for label in defined] == pytest.approx(weights, abs=1e-5)
    expected = [scales[label] / np.nanmax(scales) * weight for label, weight in zip(defined, weights)]
    assert [found["S"][label] for label in defined] == pytest.approx(expected, abs=1e-5)
    json.dumps(found, allow_nan=False)


def test_diagnosis_keeps_no_batch_and_equals_a_measure_of_all_rows() -> None:
    generator = torch.Generator().manual_seed(1)
    images = 100 + torch.randn(2000, 6, generator=generator)
    labels = torch.randint(5, (2000,), generator=generator)
    loader = DataLoader(TensorDataset(images, labels), batch_size=64)
    module, alive, most = Doubling(), weakref.WeakSet[Tensor](), []

    def features(batch: Tensor) -> Tensor:
        most.append(len(alive))
        alive.add(found := batch * module.scale.detach())
        return found

    module.features = features  # type: ignore[method-assign]
    found = diagnose(module, _datamodule(eval_train_dataloader=lambda: loader))
    assert (len(most), max(most)) == (32, 1)
    expected = class_geometry(2 * images, labels, 5)
    for name, values in zip(("S'", "W", "S"), (expected.scales, expected.interclass_weights, expected.imbalance)):
        assert found[name] == pytest.approx(values.tolist(), rel=1e-11)


def test_diagnosis_refuses_features_that_are_not_finite() -> None:
    images = torch.ones(4, 6)
    images[3, 1] = torch.nan
    loader = DataLoader(TensorDataset(images, torch.zeros(4, dtype=torch.int64)), batch_size=2)
    with pytest.raises(ValueError, match="1 NaN"):
        diagnose(Doubling(), _datamodule(eval_train_dataloader=lambda: loader))


def test_diagnosis_restores_the_mode_after_a_failure() -> None:
    module = Doubling()
    module.norm.eval()

    def broken() -> Any:
        raise RuntimeError("unreadable image")

    with pytest.raises(RuntimeError, match="unreadable"):
        diagnose(module, _datamodule(eval_train_dataloader=broken))
    assert (module.training, module.dropout.training, module.norm.training) == (True, True, False)
