"""The input of a pre-trained backbone, which the dataset takes up before any image is read."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.checking import say_once
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.own_weights import listed
from semscale_pl.options import INPUT_SETTINGS
from semscale_pl.training.own_architecture import find_architecture

# Augmentations that cut windows out of the images as they are stored, before these are resized to the model's input.
_BEFORE_RESIZING = ("crop", "crop_flip", "auto_augment_cutout", "rand_augment")


def pretrained_backbone(cfg: DictConfig) -> Any | None:
    """Build the backbone where it brings weights, and write the input that these were trained on into `cfg.dataset`.

    What `keep_input` names stays as the dataset has it; a network of one image size is then built for that size. The
    configuration says afterwards what is used, so that a checkpoint can do without the backbone's source.

    Args:
        cfg: of a training run; changed in place.

    Returns:
        The backbone, or None where it starts from random weights: such a one is built once the data are known.

    Raises:
        ValueError: it cannot be built, its weights cannot be had.
    """
    find_architecture(cfg)
    brings_weights = has_weights(cfg.backbone)
    node = cfg.backbone if cfg.backbone.get("architecture") is None else cfg.backbone.architecture
    sized = "image_size" in node and node.image_size is None
    if sized and (not brings_weights or "image_size" in cfg.keep_input):
        node.image_size = cfg.dataset.get("image_size")
    if not brings_weights:
        return None
    backbone = instantiate(cfg.backbone)
    expected: InputSpec | None = getattr(backbone, "input", None)
    _check_channels(backbone, cfg.dataset.get("channels"))
    _say_how_weights_fit(backbone, cfg.backbone)
    if expected is not None:
        if sized and node.image_size is None:
            node.image_size = expected.image_size
        take_up(expected, cfg)
    return backbone


def has_weights(backbone: DictConfig) -> bool:
    """Tell whether a backbone's configuration asks for trained weights."""
    return bool(backbone.get("pretrained") or backbone.get("weights"))


def take_up(expected: InputSpec, cfg: DictConfig) -> None:
    """Write a network's input into the configuration of the dataset, but for what `keep_input` names."""
    dataset, kept = cfg.dataset, cfg.get("keep_input") or []
    if "mean" not in dataset:  # features, or a datamodule of somebody else's
        return
    changed = {
        name: value if isinstance(value, str | int | float) else list(value)
        for name in INPUT_SETTINGS
        if name in dataset and name not in kept and (value := getattr(expected, name)) not in (None, dataset[name])
    }
    before = dataset.get("image_size")
    if "image_size" in changed:
        _fix_crops(cfg, before)
    for name, value in changed.items():
        dataset[name] = value
    if before is not None and "image_size" in changed:
        say_once(
            f"images at {expected.image_size} x {expected.image_size} pixels, as the pre-trained backbone expects, "
            f"instead of {before} x {before}. dataset.image_size={before} keeps the dataset's."
        )


def _check_channels(backbone: Any, channels: int | None) -> None:
    needed = getattr(backbone, "in_channels", channels)
    if channels is not None and needed != channels:
        raise WrongCallError(
            f"Expected `dataset.channels` to be {needed}, as in the training of the backbone's weights, but got "
            f"{channels}. Set dataset.channels={needed}."
        )


def _say_how_weights_fit(backbone: Any, node: DictConfig) -> None:
    resampled = getattr(backbone, "resampled", None)
    if resampled:
        say_once(f"{resampled}.")
    left = getattr(backbone, "passed_over", None)
    if left:
        tensors = "1 tensor" if len(left) == 1 else f"{len(left)} tensors"
        say_once(f"{tensors} of {node.weights} that the backbone has no place for: {listed(left)}.")


def _fix_crops(cfg: DictConfig, size: int | None) -> None:
    """Leave the windows of an augmentation at the size of the images as they are stored."""
    augmentation = OmegaConf.select(cfg, "augmentation.transform")
    if not isinstance(augmentation, DictConfig) or "image_size" not in augmentation or size is None:
        return
    name = str(augmentation.get("_target_"))
    if name.startswith("semscale_pl.") and name.rpartition(".")[2] in _BEFORE_RESIZING:
        augmentation.image_size = int(augmentation.image_size)
