"""Rebuild a trained model from its checkpoint alone: neither the training data nor pretrained weights are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.errors import WrongCallError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from semscale_pl.data.transforms import ModelInput
    from semscale_pl.modules.classifier import ImbalancedClassifier


INPUT_KEYS = ("image_size", "channels", "mean", "std", "crop_share")


@dataclass(frozen=True)
class Restored:
    """A trained model and what belongs to it.

    Args:
        module: in evaluation mode, on the CPU.
        class_names: C names.
        config: of the training run.
    """

    module: ImbalancedClassifier
    class_names: list[str]
    config: DictConfig

    @property
    def input_settings(self) -> dict[str, Any]:
        """Size, channels and normalization of the model's input, as far as the run's dataset sets them."""
        dataset = OmegaConf.to_container(self.config.dataset)
        assert isinstance(dataset, dict)
        return {key: dataset[key] for key in INPUT_KEYS if key in dataset}

    def model_input(self, image_size: int | None = None) -> ModelInput:
        """Build the transform of evaluation images.

        Args:
            image_size: in pixels, instead of that of training.
        """
        from semscale_pl.data.transforms import ModelInput

        settings = self.input_settings
        return ModelInput(**(settings if image_size is None else {**settings, "image_size": image_size}))

    def scorer(self) -> nn.Module:
        """Return a plain module from images to the logits (B, C) whose softmax is the model's probability."""
        return _scorer(self.module)


def restore(path: str | Path) -> Restored:
    """Rebuild the model of a checkpoint.

    Args:
        path: of a file that `semscale train` wrote.

    Raises:
        WrongCallError: it is no such file.
    """
    from semscale_pl.training.building import build_module

    content = read_checkpoint(path)
    config = OmegaConf.create(content["hyper_parameters"]["config"])
    if config.backbone.get("pretrained"):
        config.backbone.pretrained = False  # the checkpoint's own weights follow
    names = [str(name) for name in content["class_names"]]
    module = build_module(config, len(names), names)
    module.load_state_dict(content["state_dict"])
    return Restored(module.eval(), names, config)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that carries its configuration and class names.

    Args:
        path: of the file.

    Raises:
        WrongCallError: it is no checkpoint of `semscale train`.
    """
    from semscale_pl.training.checkpoints import load_checkpoint

    try:
        content = load_checkpoint(path)
    except Exception as error:  # torch raises whatever the bytes of a foreign file lead to
        raise WrongCallError(
            f"Expected `ckpt` to be a checkpoint of `semscale train`, but cannot read {path}."
        ) from error
    if "class_names" not in content:
        raise WrongCallError(
            f"Expected `ckpt` to carry class names, but {path} has none. Train again, or resume it for one epoch."
        )
    return content


def _scorer(module: ImbalancedClassifier) -> nn.Module:
    from torch import nn

    class Scorer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.classifier, self.loss = module.backbone, module.classifier, module.loss

        def forward(self, images: Tensor) -> Tensor:
            features = self.classifier.features(self.backbone(images))  # type: ignore[operator]
            return self.loss.evaluation_logits(self.classifier(features))  # type: ignore[operator]

    return Scorer().eval()
