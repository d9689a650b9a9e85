"""A checkpoint is tested with its own weights, on the data of its run or on those that the call names."""

from __future__ import annotations

from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from semscale_pl.config.composing import config_dir
from semscale_pl.training.evaluation import for_testing
from semscale_pl.training.restoring import read_checkpoint


def test_neither_pretrained_weights_nor_a_look_at_the_training_images_are_asked_for(tmp_path: Path) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = ["dataset=image_folder", "backbone=resnet18", "backbone.pretrained=true"]
        trained = OmegaConf.to_container(compose("train", overrides=overrides))
    content = {"hyper_parameters": {"config": trained}, "class_names": ["a"], "state_dict": {}}
    torch.save(content, tmp_path / "x.ckpt")
    stored = for_testing(read_checkpoint(tmp_path / "x.ckpt").config, batch_size=7, root="/elsewhere", num_workers=None)
    assert stored.backbone.pretrained is False
    assert stored.dataset.check_images == "exist"
    assert (stored.dataset.batch_size, stored.dataset.root) == (7, "/elsewhere")
    assert stored.dataset.num_workers == trained["dataset"]["num_workers"]
