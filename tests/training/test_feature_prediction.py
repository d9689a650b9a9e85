"""Commands on a run on features: probabilities of other features, and what only images have refused in one line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from offline_wandb import read_finished
from sklearn.datasets import load_digits

from semscale_pl.cli.main import main
from semscale_pl.config.composing import composed_from
from semscale_pl.features.store import StorePart, write_store
from semscale_pl.tables.cache import locate
from semscale_pl.tables.cell_training import task_of, train_cell
from semscale_pl.tables.schema import parse_table
from semscale_pl.training.run import TrainResult, train

DIGITS = load_digits()
X, Y = (DIGITS.data / 16).astype(np.float32), DIGITS.target
NAMES = [f"digit {label}" for label in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with features as files and as a store."""
    path = tmp_path_factory.mktemp("features")
    parts = {"train": slice(300), "test": slice(300, 600)}
    for name, part in parts.items():
        np.savez(path / name, features=X[part], labels=Y[part])
    write_store(path / "store", {name: StorePart.of(X[part], Y[part]) for name, part in parts.items()}, NAMES)
    return path


def given(folder: Path) -> list[str]:
    return ["dataset=features", f"dataset.train={folder / 'train.npz'}", f"dataset.test={folder / 'test.npz'}"]


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainResult:
    options = ["trainer.max_epochs=2", "backbone=mlp", "backbone.hidden=8", "callbacks.progress=null"]
    return train(composed_from("train", [*given(folder), *options]), folder / "run")


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def predicted(result: TrainResult, *more: str) -> list[dict[str, str]]:
    ckpt = result.run_dir / "checkpoints" / "last.ckpt"
    assert main(["predict", f"ckpt={ckpt}", "out=out", *more]) == 0
    return list(csv.DictReader(Path("out/predictions.csv").read_text().splitlines()))


@pytest.mark.parametrize("form", ["npz", "npy", "csv", "store"])
def test_probabilities_of_features_are_those_of_the_model(form: str, folder: Path, trained: TrainResult) -> None:
    more = ["part=test"] if form == "store" else []
    file = {"npz": folder / "test.npz", "store": folder / "store"}.get(form, Path(f"rows.{form}"))
    if form == "npy":
        np.save(file, X[300:600])  # without labels
    elif form == "csv":
        lines = [",".join(["file", *(f"f{column}" for column in range(64))])]
        lines += [",".join([f"a/{row}.png", *map(str, X[row])]) for row in range(300, 600)]
        file.write_text("\n".join(lines))
        more = ["feature_columns=f0..f63"]
    rows = predicted(trained, f"features={file}", "batch_size=128", *more)
    module = trained.module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(X[300:600])).double().softmax(1)
    names = [name for name in rows[0] if name.startswith("p_")]
    found = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)
    assert [int(row["class_index"]) for row in rows] == expected.argmax(1).tolist()
    called = "path" if form == "csv" else "row"
    assert [row[called] for row in rows[:2]] == (["a/300.png", "a/301.png"] if form == "csv" else ["0", "1"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["predict", "images=IN/train.npz"], "features=FILE with a model that was trained on features"),
        (["predict", "features=IN/narrow.npy"], "Expected 64 features"),
        (["predict", "features=IN/broken.npy"], "row 0 of broken.npy has NaN or infinity"),
        (["predict", "features=IN/none.npy"], "there is none at"),
        (["predict", "features=IN/train.npz", "images=IN"], "Expected one of images= and features="),
        (["predict", "features=IN/train.npz", "num_workers=2"], "`num_workers` only with images="),
        (["predict", "features=IN/train.npz", "tta=flips"], "Expected tta=none"),
        (["predict", "features=IN/train.npz", "part=test"], "`part` only with an embedding store"),
        (["predict", "features=IN/train.npz", "feature_key=labels"], "Expected"),
        (["predict", "features=IN/store", "label_column=y"], "Expected no `label_column` with an embedding store"),
        (["predict", "images=IN", "part=test"], "`part` only with features="),
        (["evaluate", "root=IN"], "Expected no `root` with a run on features"),
        (["evaluate", "num_workers=2"], "Expected no `num_workers` with a run on features"),
    ],
)
def test_what_cannot_be_is_one_line(
    call: list[str], said: str, folder: Path, trained: TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder / "narrow.npy", X[:5, :9])
    np.save(folder / "broken.npy", np.where(np.eye(64, dtype=bool), np.nan, X[:64]))
    ckpt = trained.run_dir / "checkpoints" / "last.ckpt"
    assert main([call[0], f"ckpt={ckpt}", *(text.replace("IN", str(folder)) for text in call[1:])]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not list(Path().rglob("*.csv"))


def test_features_are_verified_as_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", *given(folder)]) == 0
    assert "300 samples" in capsys.readouterr().out
    assert main(["data", "verify", "dataset=features", f"dataset.store={folder / 'store'}"]) == 0
    assert "300 samples" in capsys.readouterr().out
    np.savez(folder / "spoilt", features=np.where(np.arange(300)[:, None] == 7, np.inf, X[:300]), labels=Y[:300])
    spoilt = f"dataset.train={folder / 'spoilt.npz'}"
    assert main(["data", "verify", *given(folder)[::2], spoilt]) == 1
    assert "the first is number 7" in " ".join(capsys.readouterr().out.split())


def test_measuring_names_the_way_for_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "dataset=features", f"dataset.store={folder / 'store'}"]) == 2
    assert "features=STORE with part=train" in capsys.readouterr().err


def test_a_cell_on_features_is_an_offline_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    content: dict[str, Any] = {
        "name": "heads",
        "rows": [{"name": "DSB", "overrides": ["reweighting=semantic_scale", "reweighting.start_epoch=1"]}],
        "columns": [{"name": "digits"}],
        "base": ["dataset=features", f"dataset.store={folder / 'store'}", "trainer.max_epochs=2"],
        "seeds": [3],
        "measures": [{"name": "accuracy", "key": "results.last.balanced_accuracy"}],
    }
    table = parse_table(content)
    (cell,) = locate(table, table.cells(["logger=wandb"]), tmp_path)
    assert train_cell(task_of(table, cell)) is None, (cell.folder / "log.txt").read_text()
    record, run = cell.metrics(), read_finished(cell.folder, 1)[0]
    assert run.exit_code == 0
    assert run.summary["last/balanced_accuracy"] == pytest.approx(record["results"]["last"]["balanced_accuracy"])
    assert record["class_names"] == NAMES
    assert run.config["dataset"]["num_features"] == 64
