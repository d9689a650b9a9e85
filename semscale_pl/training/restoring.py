"""Rebuild a trained model from its checkpoint alone: neither the training data nor pretrained weights are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.features import has_features
from semscale_pl.config.moved import with_current_names
from semscale_pl.data.transforms import ModelInput
from semscale_pl.labels import composed
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.options import INPUT_SETTINGS
from semscale_pl.training.building import build_module
from semscale_pl.training.own_architecture import without_weights

INPUT_KEYS = ("channels", *INPUT_SETTINGS)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of its model.

    The run's config has today's names of its classes and no pretrained weights: the checkpoint's own replace them.
    ``is_finished`` says that its head is that of a second stage.
    """

    config: DictConfig
    class_names: list[str]
    state: dict[str, Any]
    is_finished: bool = False

    def module(self) -> ImbalancedClassifier:
        """Build the module with the checkpoint's weights, on the CPU."""
        module = build_module(self.config, len(self.class_names), self.class_names)
        module.load_state_dict(self.state)
        return module


@dataclass(frozen=True)
class Restored:
    """A trained model, in evaluation mode on the CPU, and what belongs to it."""

    module: ImbalancedClassifier
    class_names: list[str]
    config: DictConfig

    @property
    def input_settings(self) -> dict[str, Any]:
        """Size, channels and normalization of the model's input, as far as the run's dataset sets them."""
        dataset = OmegaConf.to_container(self.config.dataset)
        assert isinstance(dataset, dict)
        return {key: dataset[key] for key in INPUT_KEYS if key in dataset}

    @property
    def exif_rotation(self) -> bool:
        """Whether the run turned image files as their EXIF tag asks for."""
        return bool(self.config.dataset.get("exif_rotation", False))

    def model_input(self, image_size: int | None = None) -> ModelInput:
        """Build the transform of evaluation images."""
        settings = self.input_settings
        return ModelInput(**(settings if image_size is None else {**settings, "image_size": image_size}))

    def scorer(self) -> nn.Module:
        """Return a plain module from images to the logits (B, C) whose softmax is the model's probability."""
        return Scorer(self.module).eval()


class Scorer(nn.Module):
    """Map images to the logits of evaluation."""

    def __init__(self, module: ImbalancedClassifier) -> None:
        super().__init__()
        self.backbone, self.classifier, self.loss = module.backbone, module.classifier, module.loss

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C) logits of (B, channels, H, W) images."""
        features = self.classifier.features(self.backbone(images))  # type: ignore[operator]
        return self.loss.evaluation_logits(self.classifier(features))


def restore(path: str | Path) -> Restored:
    """Rebuild the model of a checkpoint.

    Raises:
        WrongCallError: it is no such file.
    """
    checkpoint = read_checkpoint(path)
    return Restored(checkpoint.module().eval(), checkpoint.class_names, checkpoint.config)


def restore_for_images(path: str | Path) -> Restored:
    """Rebuild the model of a checkpoint whose input is images.

    Raises:
        WrongCallError: it is no such file, or its model was trained on features.
    """
    restored = restore(path)
    if has_features(restored.config):
        raise WrongCallError(
            f"Expected `ckpt` to be a model of images, but {path} was trained on features, which its images would have "
            "to be made into first. Pass the run of a network; `semscale evaluate` and `semscale export` take this one."
        )
    return restored


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, also one from before classes moved to other modules, without running any code in it.

    Raises:
        WrongCallError: it is no such file.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = content["hyper_parameters"]["config"]
    except Exception as error:  # torch raises whatever the bytes of a foreign file lead to
        raise WrongCallError(
            f"Expected `ckpt` to be a checkpoint of `semscale train`, but cannot read {path}."
        ) from error
    if "class_names" not in content:
        raise WrongCallError(
            f"Expected `ckpt` to carry class names, but {path} has none. Train again, or resume it for one epoch."
        )
    config = with_current_names(OmegaConf.create(stored))
    without_weights(config.backbone)
    names = [composed(str(name)) for name in content["class_names"]]
    # Those of a training count its steps.
    return Checkpoint(config, names, content["state_dict"], is_finished="global_step" not in content)
