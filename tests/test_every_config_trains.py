"""Every option of the groups that make a model and its training takes a step, built as `semscale train` builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir

from semscale_pl.callbacks.head_start import HeadStart
from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.training import building

# Options of these groups see grey digits of 8 x 8; backbones and augmentations see RGB of 32 x 32.
DIGIT_GROUPS = ("loss", "reweighting", "sampler", "mixing", "optimizer", "scheduler", "classifier", "embedding")
NEEDS = {
    ("backbone", "timm"): ["backbone.name=resnet10t"],
    **{
        ("loss", name): ["classifier=cosine"]
        for name in ("ldam", "norm_softmax", "circle", "proxy_nca", "proxy_anchor", "arcface", "cosface")
    },
    ("loss", "soft_triple"): ["classifier=centres"],
    ("embedding", "linear"): ["classifier=centres", "loss=soft_triple", "reweighting=class_balanced"],
    ("reweighting", "cdb"): ["dataset.validation_per_class=1"],
}
# A network of one's own, which tests/training/test_own_architecture.py trains.
OF_FILES = {"file", "open_clip"}
# About 1.5 gigabytes with gradients and momentum; its small stem is tested below.
HEAVIEST = {"vgg16"}
# Heads that nothing moves: tests/callbacks/test_head_start.py, tests/models/test_open_clip_backbone.py.
UNMOVED = {("classifier", "gaussian"), ("classifier", "zero_shot")}
RGB = ["dataset.channels=3", "dataset.image_size=32", "dataset.mean=[0.305]", "dataset.std=[0.376]"]
OF_VECTORS = ("identity", "mlp")
# Sixty generated photographs of three classes.
PHOTOGRAPHS = [
    "dataset=torch_datasets",
    "dataset.image_size=32",
    "dataset.channels=3",
    *(
        f"{key}={value}"
        for split in ("train", "test")
        for key, value in {
            f"dataset.source.{split}._target_": "torchvision.datasets.FakeData",
            f"+dataset.source.{split}.size": 60,
            f"+dataset.source.{split}.image_size": "[3,32,32]",
            f"+dataset.source.{split}.num_classes": 3,
            f"+dataset.source.{split}.random_offset": 100 * (split == "test"),
        }.items()
    ),
]
ONE_STEP = ["trainer.fast_dev_run=true", "+trainer.enable_checkpointing=false"]


def options(*groups: str) -> list[tuple[str, str]]:
    return [(group, file.stem) for group in groups for file in sorted((config_dir() / group).glob("*.yaml"))]


def of_images() -> list[tuple[str, str]]:
    return [pair for pair in options("backbone") if pair[1] not in OF_VECTORS]


class LossKeeper(pl.Callback):
    """Keep the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))


def step_of(run_dir: Path, *overrides: str) -> float:
    """Build a run from its configuration, take one step and return the loss; the parameters must have moved."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["dataset=digits_lt", *ONE_STEP, *overrides])
    check_train(cfg)
    pl.seed_everything(0, verbose=False)
    datamodule = building.build_datamodule(cfg)
    counts = [int(count) for count in datamodule.class_counts]
    module = building.build_module(cfg, datamodule.num_classes, datamodule.class_names, counts)
    reweighting, kept = building.built_or_none(cfg.reweighting), LossKeeper()
    callbacks = [HeadStart(), kept] if reweighting is None else [HeadStart(), reweighting, kept]
    trainer = building.build_trainer(cfg, callbacks, [], run_dir, datamodule.has_validation)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    trainer.fit(module, datamodule=datamodule)
    assert len(kept.losses) == 1
    after = list(module.parameters())
    assert all(bool(torch.isfinite(parameter).all()) for parameter in after)
    moved = sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert moved > len(after) / 2
    return kept.losses[0]


def marked(pair: tuple[str, str]) -> Any:
    return pytest.param(*pair, marks=pytest.mark.slow) if pair[1] in HEAVIEST else pair


@pytest.mark.parametrize(("group", "option"), [pair for pair in options(*DIGIT_GROUPS) if pair not in UNMOVED])
def test_takes_a_step(group: str, option: str, tmp_path: Path) -> None:
    loss = step_of(tmp_path, f"{group}={option}", *NEEDS.get((group, option), []))
    assert 0 < loss < 100


@pytest.mark.parametrize(
    ("group", "option"), [marked(pair) for pair in options("backbone") if pair[1] not in (*OF_VECTORS, *OF_FILES)]
)
def test_backbone_takes_a_step_on_rgb_images(group: str, option: str, tmp_path: Path) -> None:
    needed = NEEDS.get((group, option), [])
    assert 0 < step_of(tmp_path, f"{group}={option}", *needed, *RGB, "dataset.batch_size=2") < 100


@pytest.mark.parametrize("option", OF_VECTORS)
def test_backbone_takes_a_step_on_vectors(option: str, tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    for name in ("train", "test"):
        np.savez(tmp_path / name, features=np.random.default_rng(0).normal(size=(60, 5)), labels=labels)
    files = [f"dataset.{name}={tmp_path / name}.npz" for name in ("train", "test")]
    assert 0 < step_of(tmp_path, "dataset=features", f"backbone={option}", *files) < 100


@pytest.mark.parametrize(("group", "option"), options("augmentation"))
def test_augmentation_takes_a_step_on_photographs(group: str, option: str, tmp_path: Path) -> None:
    assert 0 < step_of(tmp_path, f"{group}={option}", *PHOTOGRAPHS, "dataset.batch_size=16") < 100


@pytest.mark.parametrize("option", ["semantic_scale", "scale_only", "effective_area", "class_balanced_drw"])
def test_a_deferred_re_weighting_takes_a_step_from_the_first_epoch(option: str, tmp_path: Path) -> None:
    assert 0 < step_of(tmp_path, f"reweighting={option}", "reweighting.start_epoch=0") < 100


def test_vgg16_with_the_small_stem_takes_a_step(tmp_path: Path) -> None:
    assert 0 < step_of(tmp_path, "backbone=vgg16", "backbone.input_stem=small", *RGB, "dataset.batch_size=2") < 100


def test_every_group_has_options() -> None:
    for group in (*DIGIT_GROUPS, "backbone", "augmentation"):
        assert len(options(group)) >= 2, group
