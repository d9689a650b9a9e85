"""`semscale evaluate`: the table of classes and the confused pairs say what the confusion matrix says."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.metrics.report import ClassificationReport
from semscale_pl.training.class_results import by_accuracy, class_results, confusions
from semscale_pl.training.evaluation import check_classes
from semscale_pl.training.run import train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    overrides = ["dataset=digits_lt", "trainer.max_epochs=2", "dataset.validation_per_class=3"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        train(compose("train", overrides=overrides), folder)
    return folder


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def evaluated(run_dir: Path, *more: str) -> tuple[dict[str, Any], list[dict[str, str]], list[dict[str, str]]]:
    assert main(["evaluate", f"ckpt={run_dir}/checkpoints/last.ckpt", "out=out", *more]) == 0
    tables = [
        list(csv.DictReader(Path("out", f"{name}.csv").read_text().splitlines())) for name in ("classes", "confusions")
    ]
    return json.loads(Path("out/evaluation.json").read_text()), *tables


def test_classes_and_pairs_are_those_of_the_confusion_matrix(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, classes, pairs = evaluated(run_dir, "top=3")
    matrix = torch.tensor(record["results"]["confusion_matrix"])
    assert [float(row["accuracy"]) for row in classes] == pytest.approx((matrix.diag() / matrix.sum(1)).tolist())
    assert [int(row["n_evaluated"]) for row in classes] == matrix.sum(1).tolist()
    assert [int(row["n_train"]) for row in classes] == record["results"]["class_counts"]
    assert all(float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) for row in classes)
    wrong = matrix - torch.diag(matrix.diag())
    assert sum(int(row["count"]) for row in pairs) == wrong.sum()
    first = pairs[0]
    assert int(first["count"]) == wrong.max()
    assert wrong[int(first["true_index"]), int(first["predicted_index"])] == wrong.max()
    printed = capsys.readouterr().out
    worst = min(classes, key=lambda row: (float(row["accuracy"]), int(row["n_train"])))
    table = printed[printed.index("least accurate first") : printed.index("and 7 more classes")]
    assert table.splitlines()[4].split("│")[1].strip() == worst["class_name"]
    assert "most confused pairs" in printed
    assert printed.rstrip().endswith("/out")


def test_the_run_keeps_its_own_record(run_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_dir, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["evaluate", f"ckpt={folder}/checkpoints/last.ckpt", f"out={folder}"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    added = {path.name for path in folder.iterdir()} - {path.name for path in run_dir.iterdir()}
    assert added == {"evaluation.json", "classes.csv", "confusions.csv"}


def test_the_folder_of_a_run_is_its_checkpoint(run_dir: Path) -> None:
    by_file, *_ = evaluated(run_dir)
    assert main(["evaluate", f"ckpt={run_dir}", "out=out2"]) == 0
    by_folder = json.loads(Path("out2/evaluation.json").read_text())
    assert by_folder == by_file
    assert Path("out/classes.csv").read_text() == Path("out2/classes.csv").read_text()


def test_each_split_is_evaluated(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {split: evaluated(run_dir, f"split={split}")[0] for split in ("train", "val")}
    assert found["train"]["results"]["per_class"]["num_samples"] == found["train"]["results"]["class_counts"]
    assert max(found["val"]["results"]["per_class"]["num_samples"]) == 3
    assert found["val"]["split"] == "val"
    assert main(["evaluate", f"ckpt={run_dir}/checkpoints/last.ckpt", "split=middle"]) == 2
    assert "Expected `split` to be one of test, val, train, but got 'middle'." in capsys.readouterr().err


def test_other_classes_are_refused_by_name(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    content["class_names"][3] = "three"
    torch.save(content, "other.ckpt")
    assert main(["evaluate", "ckpt=other.ckpt"]) == 2
    error = capfd.readouterr().err
    assert (
        "Expected the 10 classes of the checkpoint in `digits_lt`, but it lacks 'three' and has besides '3'." in error
    )
    assert error.count("\n") == 1
    assert not [path for path in Path("runs").rglob("*") if path.is_file()]
    with pytest.raises(ValueError, match="another order"):
        check_classes(["a", "b"], ["b", "a"], "x")
    with pytest.raises(ValueError, match="lacks '0', '1', '2', '3', '4' and 5 more"):
        check_classes([str(label) for label in range(10)], ["a"], "x")


def test_what_is_undefined_stays_empty() -> None:
    report = ClassificationReport(3, class_counts=[200, 50, 1])
    report.update(torch.eye(3)[[0, 1, 0]], torch.tensor([0, 0, 0]))
    rows = class_results(report.compute(), ["a", "b", "c"])
    assert [row.group for row in rows] == ["many", "medium", "few"]
    assert (rows[0].most_confused_with, rows[0].num_confused) == ("b", 1)
    assert (rows[1].accuracy, rows[1].accuracy_low, rows[1].precision) == (None, None, 0.0)
    assert [row.class_name for row in by_accuracy(rows)] == ["a", "c", "b"]
    large = ClassificationReport(1001)
    large.update(torch.eye(1001)[:2], torch.tensor([0, 0]))
    assert confusions(large.compute()) == []


def test_a_path_with_any_letter_is_read(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run_dir / "checkpoints" / "last.ckpt", "my model (1), best=yes.ckpt")
    assert main(["evaluate", "ckpt=my model (1), best=yes.ckpt", "out=out"]) == 0
    assert json.loads(Path("out/evaluation.json").read_text())["checkpoint"].endswith("best=yes.ckpt")


def test_a_folder_that_is_a_file_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    for key in ("out", "hydra.run.dir"):
        assert main(["evaluate", f"ckpt={run_dir}/checkpoints/last.ckpt", f"{key}=file"]) == 2
        assert f"Expected `{key}` to be a folder, but 'file' is a file." in capsys.readouterr().err
