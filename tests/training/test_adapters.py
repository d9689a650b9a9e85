"""Runs with adapters in a tiny vision transformer of random weights: LIFT's recipe, LoRA, their checkpoints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.export import export
from semscale_pl.training.run import TrainResult, train

TINY = [
    "dataset=digits_lt", "dataset.channels=3", "dataset.image_size=32", "backbone.name=test_vit",
    "backbone.pretrained=false", "trainer.max_epochs=1", "callbacks.progress=null",
]  # fmt: skip


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    check_train(cfg)
    return cfg


def check_checkpoint(result: TrainResult) -> None:
    """Evaluating the checkpoint gives what the run had; it holds the frozen weights, and no state of theirs."""
    ckpt = result.run_dir / "checkpoints" / "last.ckpt"
    assert evaluate(ckpt)["confusion_matrix"] == result.last["confusion_matrix"]
    stored, frozen = torch.load(ckpt, weights_only=True), "backbone.trunk.patch_embed.proj.weight"
    assert torch.equal(stored["state_dict"][frozen], result.module.state_dict()[frozen])
    assert sum(len(group["params"]) for group in stored["optimizer_states"][0]["param_groups"]) == sum(
        one.requires_grad for one in result.module.parameters()
    )


def test_lift_has_the_settings_of_its_authors() -> None:
    """Their utils/config.py, and 2 ** int(log2(100 / 24)) = 4 for the bottleneck of 100 classes and 12 blocks."""
    cfg = composed("experiment=lift")
    assert (cfg.dataset.name, cfg.imbalance_factor, cfg.tta) == ("cifar100_lt", 100, "crops")
    assert (cfg.optimizer.lr, cfg.optimizer.momentum, cfg.optimizer.weight_decay) == (0.01, 0.9, 5e-4)
    assert (cfg.trainer.max_epochs, cfg.dataset.batch_size, cfg.classifier.scale) == (10, 128, 25)
    assert (cfg.finetune.dim, cfg.finetune.scale, cfg.finetune.own_norm) == (4, "learned", True)


def test_lift_trains_its_adapters_and_its_head_alone(tmp_path: Path) -> None:
    result = train(composed("experiment=lift", *TINY), tmp_path)
    module = result.module
    trained = {name for name, one in module.named_parameters() if one.requires_grad}
    parts = {"down.weight", "down.bias", "up.weight", "up.bias", "branch_norm.weight", "branch_norm.bias", "scale"}
    blocks = len(module.backbone.trunk.blocks)  # type: ignore[union-attr, arg-type]
    names = {f"backbone.trunk.blocks.{number}.mlp.{part}" for number in range(blocks) for part in parts}
    assert trained == names | {"classifier.weight"}
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["parameters"]["trained"] == sum(one.numel() for one in module.parameters() if one.requires_grad)
    check_checkpoint(result)


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="pip install 'semscale-pl[finetune]'")
def test_lora_trains_under_dsb_at_a_rate_of_its_own(tmp_path: Path) -> None:
    more = ["backbone=timm", "finetune=lora", "finetune.rank=2", "finetune.backbone_lr=0.1", "finetune.dropout=0.1"]
    weights = ["reweighting=semantic_scale", "reweighting.start_epoch=0"]
    result = train(composed(*more, *TINY, *weights), tmp_path)
    updates = [value for name, value in result.module.state_dict().items() if "lora_B" in name]
    assert all(bool(value.any()) for value in updates)
    assert len(updates) == len(result.module.backbone.trunk.blocks)  # type: ignore[union-attr, arg-type]
    rates = {group["name"]: group["initial_lr"] for group in result.trainer.optimizers[0].param_groups}
    assert rates == {"backbone": 0.1, "head": 0.05}
    check_checkpoint(result)
    difference, allowed = export(tmp_path / "checkpoints" / "last.ckpt", tmp_path / "model.pt", "torchscript")
    assert difference <= allowed
