"""Scales of raw samples and of wide features: images as pixels, features averaged down."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, interpolate

from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.geometry.volumes import num_lines
from semscale_pl.labels import Labels
from semscale_pl.validation import ArrayLike, as_tensor


@torch.no_grad()
def sample_volumes(images: ArrayLike, labels: Labels, num_classes: int | None = None, image_size: int = 16) -> Tensor:
    """Compute the sample volume of every class: the semantic scale of its resized pixels, without any model.

    Args:
        images: (N, channels, height, width) floats in [0, 1].
        labels, num_classes: see :func:`semscale_pl.geometry.classes.semantic_scales`.
        image_size: side of the resized images in pixels; d = image_size^2 * channels.

    Returns:
        (C,) bits; NaN for an absent class, 0 for a single image.

    Raises:
        TypeError: the images are not floating point.
        ValueError: another shape, or pixels outside [0, 1].

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1.
    """
    given, images = images, as_tensor(images, "images")
    if not images.is_floating_point():
        kind = getattr(given, "dtype", images.dtype)
        raise TypeError(
            f"Expected `images` to be floating point, but got {kind}. Divide them by their largest value (255 for "
            "bytes): pixels lie in [0, 1]."
        )
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"Expected `images` of shape (N, channels, height, width), but got {tuple(images.shape)}.")
    low, high = (float(bound) for bound in images.aminmax())
    if not (low >= -1e-6 and high <= 1.0 + 1e-6):
        raise ValueError(
            f"Expected the pixels of `images` in [0, 1], but got {low:g} to {high:g}. "
            "Pass the images before normalization, bytes divided by 255."
        )
    return semantic_scales(resized(images, image_size).flatten(1), labels, num_classes)


def resized(images: Tensor, side: int) -> Tensor:
    """Resize images (N, channels, height, width) to float32 squares with an antialiased bilinear filter."""
    parts = images.split(num_lines(images[0].numel()))
    return torch.cat([interpolate(part.float(), (side, side), mode="bilinear", antialias=True) for part in parts])


def pool_features(features: ArrayLike, num_features: int = 64) -> Tensor:
    """Average features down to fewer dimensions, along the feature axis.

    Args:
        features: (B, D).
        num_features: wanted dimensions, at least 1.

    Returns:
        (B, min(D, num_features)) in the dtype of the features.

    Raises:
        ValueError: the features are not a matrix, or fewer than one dimension is wanted.

    Example:
        >>> pool_features(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), 2)
        tensor([[2., 6.]])

    Reference: Ma et al. (ICLR 2023), section 4.2.
    """
    features = as_tensor(features, "features")
    if num_features < 1 or features.ndim != 2:
        raise ValueError(
            f"Expected `features` (B, D) and `num_features` of at least 1, but got {tuple(features.shape)} "
            f"and {num_features}."
        )
    if features.shape[1] <= num_features:
        return features
    return adaptive_avg_pool1d(features[:, None], num_features)[:, 0]
