"""Retrieval in the record of a run: new classes and trained ones, the selected epoch, two ranks, refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from sklearn.datasets import load_digits

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import composed_from
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.features import FeatureDataModule
from semscale_pl.data.source import DataError
from semscale_pl.metrics import EmbeddingReport
from semscale_pl.metrics.embedding_report import SEARCHED
from semscale_pl.metrics.embedding_rows import NoDirectionError
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.run import TrainResult, train

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
DIGITS = load_digits()
EMBEDDING = ["embedding=linear", "embedding.dim=8", "loss=norm_softmax", "classifier=cosine", "kmeans_restarts=2"]
NEW_CLASSES = ["dataset.split=classes", "dataset.train_classes=6", "dataset.validation_classes=2"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the overrides for 300 training and 200 test samples."""
    X = (DIGITS.data / 16).astype(np.float32)
    for name, part in (("train", slice(300)), ("test", slice(300, 500))):
        np.savez(tmp_path / name, features=X[part], labels=DIGITS.target[part])
    return ["dataset=features", *(f"dataset.{name}={tmp_path / name}.npz" for name in ("train", "test"))]


def run(folder: Path, *overrides: str) -> TrainResult:
    cfg = composed_from("train", [*overrides, "dataset.batch_size=64", "callbacks.progress=null"])
    check_train(cfg)
    return train(cfg, folder)


def record_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def searched(result: TrainResult, loader: Any) -> Any:
    """Search the embeddings of a loader's batches by hand, one after another."""
    report = EmbeddingReport(restarts=2, class_names=result.datamodule.test_class_names)
    with torch.no_grad():
        for samples, labels, _ in loader:
            report.update(result.module.eval().features(samples), labels)
    return report.compute()


def test_new_classes_are_searched_and_others_select_the_epoch(files: list[str], tmp_path: Path) -> None:
    result = run(tmp_path / "run", *files, *EMBEDDING, *NEW_CLASSES, "trainer.max_epochs=3")
    record = record_in(tmp_path / "run")
    last, selected = record["results"]["last"], record["results"]["selected"]
    expected = searched(result, result.datamodule.test_dataloader())
    assert {name: last[name] for name in expected} == json.loads(json.dumps(expected))
    assert record["class_names"] == ["0", "1", "2", "3"]
    assert set(last["retrieval"]["per_class"]) == {"6", "7", "8", "9"}
    assert last["retrieval"]["class_names"][6] == "6"
    assert len(last["clustering"]["nmi"]["restarts"]) == 2
    assert (last["num_samples"], last["balanced_accuracy"]) == (0, None)
    assert result.last["recall_at_1"] > 0.7
    assert result.datamodule.val_dataset.labels.unique().tolist() == [4, 5]
    # The epoch with the highest Recall@1 of the classes 4 and 5.
    assert record["objective"]["name"] == "val/recall_at_1"
    best = evaluate(tmp_path / "run/checkpoints/best.ckpt", split="val")
    assert best["recall_at_1"] == pytest.approx(record["objective"]["value"])
    for name, found in (("last", last), ("best", selected)):
        again = evaluate(tmp_path / f"run/checkpoints/{name}.ckpt")
        assert json.loads(json.dumps({key: again[key] for key in expected})) == {key: found[key] for key in expected}


def test_trained_classes_are_searched_beside_their_accuracies(files: list[str], tmp_path: Path) -> None:
    overrides = [*files, "retrieval=true", "kmeans_restarts=2", "trainer.max_epochs=2", "test=true"]
    result = run(tmp_path / "run", *overrides, "backbone=mlp", "dataset.validation_per_class=3")
    expected = searched(result, result.datamodule.test_dataloader())
    assert {name: result.last[name] for name in SEARCHED} == {name: expected[name] for name in SEARCHED}
    assert result.last["num_samples"] == 200
    plain = run(tmp_path / "plain", *[one for one in overrides if "retrieval" not in one], "backbone=mlp",
                "dataset.validation_per_class=3")  # fmt: skip
    assert plain.last["per_class"] == result.last["per_class"]
    assert "recall_at_1" not in plain.last
    assert plain.objective[0] == "val/balanced_accuracy"


def test_a_gallery_of_its_own_is_searched_instead(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureDataModule, "gallery_dataloader", FeatureDataModule.eval_train_dataloader)
    result = run(tmp_path / "run", *files, "retrieval=true", "kmeans_restarts=0", "trainer.max_epochs=1")
    report = EmbeddingReport(restarts=0, class_names=result.datamodule.test_class_names)
    with torch.no_grad():
        for samples, labels, _ in result.datamodule.test_dataloader():
            report.update(result.module.eval().features(samples), labels)
        for samples, labels, _ in result.datamodule.eval_train_dataloader():
            report.add_gallery(result.module.features(samples), labels)
    assert result.last["retrieval"] == report.compute()["retrieval"]
    assert (result.last["retrieval"]["num_queries"], result.last["retrieval"]["num_gallery"]) == (200, 300)
    assert evaluate(tmp_path / "run/checkpoints/last.ckpt")["retrieval"] == result.last["retrieval"]


def test_a_run_without_a_test_is_judged_by_the_classes_held_out(files: list[str], tmp_path: Path) -> None:
    run(tmp_path / "run", *files, *EMBEDDING, *NEW_CLASSES, "test=false", "trainer.max_epochs=1")
    results = record_in(tmp_path / "run")["results"]
    assert (results["last"], results["selected"]) == (None, None)
    assert 0 < results["validation"]["recall_at_1"] <= 1
    assert results["validation"]["nmi"] is None


def test_a_trial_searches_nothing(files: list[str], tmp_path: Path) -> None:
    result = run(tmp_path / "run", *files, *EMBEDDING, *NEW_CLASSES, "trainer.fast_dev_run=true")
    assert result.last["recall_at_1"] is None
    assert result.last["retrieval"] is None


@pytest.mark.slow
def test_two_ranks_find_what_one_process_finds(files: list[str], tmp_path: Path) -> None:
    overrides = [*files, *EMBEDDING, *NEW_CLASSES, "trainer=ddp_cpu", "trainer.devices=2", "trainer.max_epochs=1"]
    call = [sys.executable, "-m", "semscale_pl", "train", *overrides, f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(call, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Recall@1 0." in done.stdout
    again, last = evaluate(tmp_path / "run/checkpoints/last.ckpt"), record_in(tmp_path / "run")["results"]["last"]
    for name in (*SEARCHED, "retrieval"):
        assert json.loads(json.dumps(again[name])) == last[name], name  # type: ignore[literal-required]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["retrieval=false"], "Expected retrieval=auto with dataset.split=classes"),
        (["recipe=crt"], "Expected no second stage"),
        (["tta=flips"], "Expected tta=none where"),
        (["trainer.limit_val_batches=0.5"], "Expected trainer.limit_val_batches=1.0 where embeddings are searched"),
        (["trainer.limit_test_batches=1"], "Expected trainer.limit_test_batches=1.0"),
        (["reweighting=cdb"], "Expected a validation part of the classes that are trained on"),
        (["callbacks=early_stopping"], r"Set callbacks.early_stopping.monitor=val/recall_at_1\."),
        (["kmeans_restarts=-1"], "Expected `kmeans_restarts` to be an integer of at least 0"),
        (["retrieval=yes-please"], 'Expected `retrieval` to be "auto", true or false'),
    ],
)
def test_refuses_what_does_not_go_together(overrides: list[str], message: str) -> None:
    cfg = composed_from("train", ["dataset=digits", *NEW_CLASSES, *overrides])
    with pytest.raises(WrongCallError, match=message) as caught:
        check_train(cfg)
    assert "\n" not in str(caught.value)


def test_refuses_to_watch_what_is_not_searched() -> None:
    monitor = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/recall_at_1"]
    overrides = ["dataset=digits", "dataset.validation_per_class=5", *monitor]
    with pytest.raises(WrongCallError, match="Set retrieval=true"):
        check_train(composed_from("train", overrides))
    check_train(composed_from("train", [*overrides, "retrieval=true"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.validation_per_class=1", "retrieval=true"], r"10 of the classes have 1, for example '0': hold out"),
        (["dataset.validation_classes=1"], "Expected dataset.split=classes with dataset.validation_classes=1"),
        ([*NEW_CLASSES[:2], "dataset.validation_classes=5"], "leave at least 2 of the 6 classes to train, but got 5"),
        ([*NEW_CLASSES[:2], "dataset.validation_classes=1"], "the validation part .* raise dataset.validation_classes"),
        ([NEW_CLASSES[0], "dataset.train_classes=9"], "the test set .* lower dataset.train_classes"),
        ([*NEW_CLASSES, "dataset.validation_per_class=1"], "got 1, 0.0, 2. Set one of them"),
    ],
)
def test_refuses_parts_that_cannot_be_searched(
    overrides: list[str], message: str, files: list[str], tmp_path: Path
) -> None:
    with pytest.raises((WrongCallError, DataError, InstantiationException), match=message):
        run(tmp_path / "run", *files, *overrides)
    assert not (tmp_path / "run").exists()


def test_a_collapsed_embedding_is_one_line(tmp_path: Path) -> None:
    report = EmbeddingReport(restarts=0)
    report.update(torch.zeros(20, 4), torch.arange(20) % 2)
    with pytest.raises(NoDirectionError, match="20 of 20 rows are zero"):
        report.compute()
