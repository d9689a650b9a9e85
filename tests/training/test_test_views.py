"""A run that averages views of its test images, its evaluation and its predictions say the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.transforms.v2 import functional as F

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import TrainResult, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    overrides = ["trainer.max_epochs=3", "tta=crops", "callbacks.progress=null", "dataset.validation_per_class=1"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    return train(cfg, tmp_path_factory.mktemp("run"))


def evaluated(run: TrainResult, *more: str) -> dict[str, object]:
    ckpt = run.run_dir / "checkpoints" / "last.ckpt"
    assert main(["evaluate", f"ckpt={ckpt}", "out=out", "accelerator=cpu", *more]) == 0
    return json.loads(Path("out/evaluation.json").read_text())


def test_an_evaluation_sees_the_views_of_its_run_or_others(
    run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    record = json.loads((run.run_dir / "metrics.json").read_text())
    found = evaluated(run)
    assert "test set, mean of crops" in capsys.readouterr().out
    assert found["tta"] == record["config"]["tta"] == "crops"
    assert found["results"]["confusion_matrix"] == record["results"]["last"]["confusion_matrix"]
    alone = evaluated(run, "tta=none")
    assert alone["tta"] == "none"
    assert alone["results"]["ece"] != found["results"]["ece"]
    assert evaluated(run, "tta=none", "split=val")["results"] != evaluated(run, "split=val")["results"]


def test_a_prediction_averages_the_logits_of_five_crops_of_the_larger_image(
    run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = (load_digits().images[0] * 255 / 16).round().astype(np.uint8)
    Image.fromarray(pixels).save("digit.png")
    ckpt = run.run_dir / "checkpoints" / "last.ckpt"
    assert main(["predict", f"ckpt={ckpt}", "images=digit.png", "out=out", "accelerator=cpu"]) == 0
    with Path("out/predictions.csv").open() as file:
        row = next(csv.DictReader(file))
    larger = F.resize(torch.tensor(pixels)[None], [9, 9], antialias=True).float() / 255
    crops = torch.stack(F.five_crop((larger - 0.305) / 0.376, [8, 8]))
    with torch.no_grad():
        expected = restore(ckpt).scorer()(crops).mean(0).double().softmax(0)
    # A file comes as RGB, whose weights for grey add up to 0.9999.
    assert [float(row[f"p_{label}"]) for label in range(10)] == pytest.approx(expected.tolist(), rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["tta=spins"], "Expected `tta` to be one of none, flips, crops, but got 'spins'."),
        (["tta=crops", "dataset.image_size=null"], "Expected `dataset.image_size` with tta=crops"),
    ],
)
def test_views_that_cannot_be_are_one_line(overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *overrides]) == 2
    assert line in capsys.readouterr().err
