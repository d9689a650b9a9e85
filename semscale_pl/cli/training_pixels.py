"""The training images of a dataset as rows of pixels: features for a measure that needs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from semscale_pl.cli.loaded_features import LoadedFeatures


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

    from semscale_pl.cli.data import composed

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
