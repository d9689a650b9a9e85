"""Classifiers start from class means or class names, and a nearest-mean head follows the backbone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.nn import functional as F

from semscale_pl.callbacks.head_start import HeadStart
from semscale_pl.callbacks.training_data import training_features
from semscale_pl.config.composing import config_dir
from semscale_pl.heads.gaussian import GaussianHead
from semscale_pl.models.class_means import ClassMeans
from semscale_pl.training import building
from semscale_pl.training.run import TrainResult, train

QUICK = ("trainer.max_epochs=2", "backbone.width=4")


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=[*QUICK, *overrides])


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    return train(composed(*overrides), run_dir)


def means_now(result: TrainResult) -> ClassMeans:
    features, labels = training_features(result.trainer, result.module)
    return ClassMeans.of(features, labels, 10)


def test_a_nearest_mean_head_ends_with_the_means_of_the_last_epoch(tmp_path: Path) -> None:
    result = trained(tmp_path, "classifier=ncm", "classifier.metric=euclidean", "classifier.scale=1")
    head: Any = result.module.classifier
    torch.testing.assert_close(head.weight.double(), means_now(result).head("euclidean").weight, rtol=1e-5, atol=1e-6)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["classifier.weight"], head.weight)
    assert result.last["balanced_accuracy"] > 0.3  # type: ignore[operator]
    resumed = trained(tmp_path, "classifier=ncm", "classifier.metric=euclidean", "classifier.scale=1",
                      "trainer.max_epochs=3", f"ckpt_path={tmp_path}/checkpoints/last.ckpt")  # fmt: skip
    torch.testing.assert_close(
        resumed.module.classifier.weight.double(), means_now(resumed).head("euclidean").weight, rtol=1e-5, atol=1e-6
    )


def test_class_means_on_a_backbone_that_does_not_train_are_set_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = list[int]()

    def counted(*args: Any) -> Any:
        passes.append(1)
        return training_features(*args)

    monkeypatch.setattr("semscale_pl.callbacks.head_start.training_features", counted)
    result = trained(tmp_path, "classifier=ncm", "finetune.train_last=0")
    assert len(passes) == 1  # in two epochs
    torch.testing.assert_close(
        result.module.classifier.weight.double(), means_now(result).head("cosine", 16.0).weight, rtol=1e-5, atol=1e-6
    )
    assert (tmp_path / "metrics.json").is_file()


def test_a_gaussian_head_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    options = ("classifier=gaussian", "classifier.choose=fixed", "classifier.k=1", "backbone=resnet20", "seed=3")
    options += ("dataset.channels=3", "dataset.mean=[0.3]", "dataset.std=[0.4]")
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*options, "trainer.max_epochs=2", "dataset.image_size=8"])
    torch.manual_seed(0)
    result = train(cfg, tmp_path)
    module: Any = result.module
    assert not any(one.requires_grad for one in module.parameters())
    norms = [part for part in module.backbone.modules() if getattr(part, "running_mean", None) is not None]
    assert norms
    assert all(not norm.running_mean.any() for norm in norms)
    features, labels = training_features(result.trainer, module)
    head = GaussianHead(0.5, 1.0, 1.0).fit(features, labels.numpy())
    found = module.classifier(features).argmax(dim=1).numpy()
    assert (found == head.predict(features)).mean() > 0.99  # float32 against float64
    assert result.last["balanced_accuracy"] > 0.3  # type: ignore[operator]


def test_a_resumed_run_still_says_how_its_gaussian_head_was_fitted(tmp_path: Path) -> None:
    def said(*more: str) -> Any:
        trained(tmp_path, "classifier=gaussian", "dataset.image_size=8", *more)
        return json.loads((tmp_path / "metrics.json").read_text())["classifier"]

    whole = said()
    assert set(whole["chosen"]) == {"shrinkage", "k", "temperature"}
    assert whole["leave_one_out"]
    assert said(f"ckpt_path={tmp_path}/checkpoints/last.ckpt") == whole


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_fit_the_gaussian_head_of_one_process(ranks: int, tmp_path: Path) -> None:
    found = []
    for name, more in (("one", []), ("several", ["trainer=ddp_cpu", f"trainer.devices={ranks}"])):
        call = [sys.executable, "-m", "semscale_pl", "train", "classifier=gaussian", *more, f"hydra.run.dir={name}"]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        found.append((state, json.loads((tmp_path / name / "metrics.json").read_text())))
    (one, alone), (several, shared) = found
    for name in ("classifier.weight", "classifier.bias"):
        torch.testing.assert_close(several[name], one[name], rtol=1e-4, atol=1e-5)
    assert shared["classifier"]["chosen"] == pytest.approx(alone["classifier"]["chosen"], rel=1e-6)
    assert shared["results"]["last"]["top1"] == pytest.approx(alone["results"]["last"]["top1"], abs=0.005)


def test_several_processes_with_nothing_to_train_need_ddp() -> None:
    module = building.build_module(composed("classifier=ncm", "finetune.train_last=0"), 10)
    trainer: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace())
    with pytest.raises(
        MisconfigurationException, match=r"strategy=ddp where nothing trains.*Namespace.*trainer\.devices=1"
    ):
        HeadStart().setup(trainer, module, "fit")


@pytest.mark.parametrize("classifier", ["linear", "cosine"])
def test_a_head_begins_with_class_means_and_then_trains(
    classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[Any]()

    class Keep(HeadStart):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_start(trainer, pl_module)
            means = ClassMeans.of(*training_features(trainer, pl_module), 10)
            expected = means.head("euclidean" if classifier == "linear" else "cosine").weight
            started.append((pl_module.classifier.affine().weight.double(), expected))

    monkeypatch.setattr(building, "HeadStart", Keep)
    result = trained(tmp_path, f"classifier={classifier}", "classifier.init=class_means")
    torch.testing.assert_close(*started[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result.module.classifier.affine().weight, started[0][0].float())
    trained(tmp_path, f"classifier={classifier}", "classifier.init=class_means", "trainer.max_epochs=3",
            f"ckpt_path={tmp_path}/checkpoints/last.ckpt")  # fmt: skip
    assert not torch.allclose(*started[1], rtol=1e-2)  # as trained, not started again


def test_a_head_begins_with_the_features_of_the_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("classifier=cosine", "classifier.init=text", "classifier.template='a drawing of {}'")
    datamodule = building.build_datamodule(cfg)
    module = building.build_module(cfg, 10, datamodule.class_names)
    width = module.num_features

    def text_features(names: list[str], template: str) -> torch.Tensor:
        return torch.stack([torch.full((width,), 1.0 + len(template.format(name))) for name in names]).cumsum(0)

    with pytest.raises(MisconfigurationException, match=r"reads text, .* classifier\.init=text, but got SmallCNN"):
        HeadStart().setup(SimpleNamespace(world_size=1), module, "fit")  # type: ignore[arg-type]
    monkeypatch.setattr(type(module.backbone), "text_features", staticmethod(text_features), raising=False)

    class Fresh:
        global_step = current_epoch = 0

    HeadStart().on_train_start(Fresh(), module)  # type: ignore[arg-type]
    expected = F.normalize(text_features([*datamodule.class_names], "a drawing of {}"), dim=1)
    torch.testing.assert_close(module.classifier.weight.detach(), expected)
