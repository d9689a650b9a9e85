"""`semscale evaluate` takes the checkpoint's own weights and refuses what is no checkpoint."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from semscale_pl.cli.evaluate import _stored_config
from semscale_pl.config.composing import config_dir


def test_neither_pretrained_weights_nor_a_look_at_the_training_images_are_asked_for() -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = ["dataset=image_folder", "backbone=resnet18", "backbone.pretrained=true"]
        trained = OmegaConf.to_container(compose("train", overrides=overrides))
        call = compose("evaluate", overrides=["ckpt=x", "batch_size=7", "root=/elsewhere"])
    stored = _stored_config({"hyper_parameters": {"config": trained}}, call)
    assert stored.backbone.pretrained is False
    assert stored.dataset.check_images == "exist"
    assert (stored.dataset.batch_size, stored.dataset.root) == (7, "/elsewhere")
