"""`backbone=file` from a run, from a named network and from neither; a checkpoint of it needs the file no more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semscale_pl.cli.main import main
from semscale_pl.models.small_cnn import SmallCNN
from semscale_pl.models.weights import weights_digest
from semscale_pl.training.restoring import restore

SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_test_batches=1", "dataset=digits_lt"]


def train(run: Path, *overrides: str) -> int:
    return main(["train", *SHORT, *overrides, f"hydra.run.dir={run}"])


def test_a_run_gives_its_network_its_weights_and_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(first, "backbone.width=8", "dataset.image_size=12", "dataset.mean=[0.25]") == 0
    file = first / "checkpoints" / "last.ckpt"
    capsys.readouterr()
    assert train(second, "backbone=file", f"backbone.weights={file}", "finetune=frozen") == 0
    said = capsys.readouterr().err
    assert f"of {file} that the backbone has no place for: classifier.linear.weight" in said
    assert train(tmp_path / "third", "backbone=file", f"backbone.weights={file}", "dataset.channels=3") == 2
    assert "Set dataset.channels=1." in capsys.readouterr().err
    before = restore(file)
    weights = weights_digest(before.module.backbone)
    file.unlink()
    after = restore(second / "checkpoints" / "last.ckpt")
    assert weights_digest(after.module.backbone) == weights
    assert after.input_settings == before.input_settings
    assert after.input_settings["image_size"] == 12


def test_a_state_dict_needs_the_name_of_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"module.backbone." + k: v for k, v in SmallCNN().trunk.state_dict().items()}, tmp_path / "w.pt")
    weights = f"backbone.weights={tmp_path / 'w.pt'}"
    assert train(tmp_path / "run", "backbone=file", weights, "backbone.name=small_cnn") == 0
    for wrong, words in (
        ([weights], "w.pt does not say which network its weights are of"),
        ([weights, "backbone.name=resnet20"], "to hold the weights of resnet20, but it has no "),
        ([weights, "backbone.name=resnet_of_mine"], "to be a timm model, but got 'resnet_of_mine'"),
        (["backbone.weights=absent.pt"], "`backbone.weights` to be a file of weights, but there is none"),
        ([], "Pass backbone.weights=..."),
    ):
        capsys.readouterr()
        assert train(tmp_path / "wrong", "backbone=file", *wrong) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not (tmp_path / "wrong").exists()
