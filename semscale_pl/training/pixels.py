"""The images of a dataset as rows of pixels: features for a measure that needs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.features.prepared import LoadedFeatures


class Pixels(NamedTuple):
    """One split of a dataset.

    Args:
        features: (N, d) float32 in [0, 1], d = side^2 * channels.
        labels: (N,) int64.
        class_names: C names.
    """

    features: Tensor
    labels: Tensor
    class_names: list[str]


def load_pixels(dataset: str, split: str = "train", side: int = 16) -> Pixels:
    """Read the images of a split and resize them, as for the sample volume.

    Args:
        dataset: a name of conf/dataset whose images are held in memory.
        split: ``train`` or ``test``.
        side: of the resized images, in pixels.

    Returns:
        Features, labels and class names.

    Raises:
        FileNotFoundError: the dataset is not there; the message says where it was looked for.
        ValueError: the dataset keeps its images on disk, or a setting is wrong.

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1, for the resizing.
    """
    from hydra.utils import instantiate

    from semscale_pl.config.checks import composed

    cfg = composed([f"dataset={dataset}"])
    root = Path(cfg.dataset.root)
    source = instantiate(cfg.dataset.source)
    source.prepare(root, False)
    images = source.load(split, root, 0)
    if not isinstance(images.images, Tensor):
        raise ValueError(f"Expected `dataset` to be one that is held in memory, but got {dataset!r}. Try mnist.")
    return Pixels(resized(images.images, side), images.labels.long(), list(images.class_names))


def resized(images: Tensor, side: int) -> Tensor:
    """Resize images with an antialiased bilinear filter and lay their pixels out in rows.

    Args:
        images: (N, channels, height, width), uint8 in 0..255 or floats in [0, 1].
        side: in pixels, at least 1.

    Returns:
        (N, side^2 * channels) float32 in [0, 1].

    Example:
        >>> resized(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), 2).shape
        torch.Size([2, 4])
    """
    rows = []
    for part in images.split(4096):
        floats = part.float() / 255.0 if part.dtype == torch.uint8 else part.float()
        small = torch.nn.functional.interpolate(floats, size=(side, side), mode="bilinear", antialias=True)
        rows.append(small.flatten(1))
    return torch.cat(rows)


def training_pixels(
    overrides: Sequence[str], side: int, progress: Callable[[int, int], None] | None = None
) -> LoadedFeatures:
    """Read the training subset of a dataset and resize its images, as for the sample volume.

    Args:
        overrides: of `semscale train`: ``dataset=NAME`` and what belongs to it.
        side: of the resized images, in pixels.
        progress: told after each batch how many have been read, of how many.

    Returns:
        Pixels in [0, 1], labels and class names.

    Raises:
        ValueError: the configuration is wrong.
        FileNotFoundError: the dataset is not there; the message says where it was looked for.

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1.
    """
    from hydra.utils import instantiate

    from semscale_pl.config.checks import composed

    data = instantiate(composed(overrides).dataset)
    data.prepare_data()
    data.setup()
    loader = data.eval_train_dataloader()
    rows, labels = [], []
    for number, (images, classes, *_) in enumerate(loader):
        pixels = (images.float() * data.model_input.std + data.model_input.mean).clamp(0.0, 1.0)
        small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        rows.append(small.flatten(1))
        labels.append(classes)
        if progress is not None:
            progress(number + 1, len(loader))
    return LoadedFeatures(torch.cat(rows), torch.cat(labels).long(), tuple(data.class_names))
