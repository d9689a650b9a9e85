"""Every config of every group composes, and what it describes can be built."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import CSVLogger

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import dotted_keys
from semscale_pl.training.building import built_or_none, entries, finish

GROUPS = sorted(path.name for path in config_dir().iterdir() if path.is_dir() and list(path.glob("*.yaml")))
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((config_dir() / group).glob("*.yaml"))]
OPTIONS.remove(("dataset", "base"))  # what the datasets share
# What an option cannot do without.
NEEDS = {
    ("backbone", "timm"): ["backbone.name=resnet10t"],
    ("backbone", "file"): [f"backbone.weights={__file__}"],
    ("backbone", "open_clip"): ["backbone.name=ViT-B-32"],
    **{
        ("loss", name): ["classifier=cosine"]
        for name in ("ldam", "norm_softmax", "circle", "proxy_nca", "proxy_anchor", "arcface", "cosface")
    },
    ("loss", "soft_triple"): ["classifier=centres"],
    ("reweighting", "cdb"): ["dataset.validation_per_class=1"],
    **{
        ("dataset", name): ["test=false", "dataset.validation_per_class=1"]
        for name in (
            "cub2011",
            "cub2011_lt",
            "cars196",
            "cars196_lt",
            "stanford_online_products",
            "in_shop",
            "mini_imagenet_classes",
            "cifar100_classes",
            "cifar100_classes_lt",
            "rsscn7_classes",
        )
    },
    ("callbacks", "early_stopping"): ["dataset.validation_per_class=1"],
    ("imbalance", "listed"): [f"imbalance.file={__file__}"],
}
# Any files of such a kind: their content is looked at when they are read.
TABLE = Path(__file__).parents[1] / "experiments" / "results" / "digits_study" / "table.csv"
FILES = [f"dataset.train={TABLE}", f"dataset.test={TABLE}"]
NEEDS |= {("dataset", name): FILES for name in ("features", "features_lt")}
NEEDS |= {("backbone", name): ["dataset=features", *FILES] for name in ("identity", "mlp")}
# A network of one's own, which tests/models/test_own_weights.py builds.
OF_FILES = {("backbone", "file"), ("backbone", "open_clip")}
if importlib.util.find_spec("open_clip") is None:
    OPTIONS.remove(("backbone", "open_clip"))
if importlib.util.find_spec("datasets") is None:
    OPTIONS = [
        (group, option) for group, option in OPTIONS if (group, option) not in {("dataset", "hf"), ("dataset", "hf_lt")}
    ]
INSTANTIATED = ("backbone", "loss", "recipe", "reweighting", "mixing")
GPU = {("trainer", "gpu"), ("trainer", "ddp")}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def test_every_group_was_found() -> None:
    assert {"dataset", "loss", "reweighting", "optimizer", "scheduler", "trainer", "logger"} <= set(GROUPS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_composes_and_passes_the_checks(group: str, option: str) -> None:
    cfg = composed(f"{group}={option}", *NEEDS.get((group, option), []))
    check_train(cfg)
    values = OmegaConf.to_container(cfg, resolve=True)
    assert "None" not in [OmegaConf.select(cfg, key) for key in dotted_keys(values)]


@pytest.mark.parametrize(
    ("group", "option"),
    [pair for pair in OPTIONS if pair[0] in INSTANTIATED and pair not in OF_FILES],
)
def test_part_instantiates(group: str, option: str) -> None:
    width = ["dataset.num_features=4"] if option in ("identity", "mlp") else []
    part = built_or_none(composed(f"{group}={option}", *NEEDS.get((group, option), []), *width)[group])
    assert (part is None) == (option == "none")


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[0] == "classifier"])
def test_classifier_instantiates(group: str, option: str) -> None:
    head = instantiate(composed(f"{group}={option}").classifier)(num_features=4, num_classes=3)
    assert head(head.features(torch.ones(2, 4))).shape == (2, 3)


@pytest.mark.parametrize("option", [name for group, name in OPTIONS if group == "optimizer"])
@pytest.mark.parametrize("schedule", [name for group, name in OPTIONS if group == "scheduler"])
def test_optimizer_and_schedule_run(option: str, schedule: str) -> None:
    cfg = composed(f"optimizer={option}", f"scheduler={schedule}", "trainer.max_epochs=10")
    optimizer = instantiate(cfg.optimizer)([torch.nn.Parameter(torch.ones(1))])
    factory = built_or_none(cfg.scheduler)
    scheduler = None if factory is None else factory(optimizer)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    assert max(rates) == pytest.approx(cfg.optimizer.lr)
    assert min(rates) > 0


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[0] == "trainer" and pair not in GPU])
def test_trainer_instantiates(group: str, option: str) -> None:
    cfg = composed(f"{group}={option}")
    trainer = instantiate(cfg.trainer, logger=False, enable_progress_bar=False, enable_checkpointing=False)
    assert trainer.max_epochs == cfg.trainer.max_epochs


@pytest.mark.parametrize("option", [name for group, name in OPTIONS if group == "logger"])
def test_loggers_instantiate(option: str, tmp_path: Path) -> None:
    loggers = [finish(entry, save_dir=tmp_path) for entry in entries(composed(f"logger={option}").logger)]
    assert any(isinstance(logger, CSVLogger) for logger in loggers)


def test_callbacks_instantiate(tmp_path: Path) -> None:
    names = [type(finish(entry, dirpath=tmp_path)).__name__ for entry in entries(composed().callbacks)]
    assert names == ["StepSeed", "ProgressLine", "RunRecorder"]
