"""What every backbone is: images in, features out, the width known, its images and arguments checked in one place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semscale_pl.models.inputs import InputSpec


def check_images(images: Tensor, in_channels: int, min_size: int = 1, only_size: int | None = None) -> None:
    """Refuse images that are not (B, in_channels, H, W) or too small, before a convolution does it in its own words.

    Raises:
        ValueError: wrong number of dimensions or channels, H or W below `min_size`, or other than `only_size`.
    """
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != in_channels:
        raise ValueError(
            f"Expected `images` to be (B, {in_channels}, H, W), but got {shape}. Set `in_channels` of the backbone."
        )
    if min(shape[2:]) < min_size:
        raise ValueError(
            f"Expected `images` to be at least {min_size} x {min_size}, but got {shape[2]} x {shape[3]}. Resize them."
        )
    if only_size is not None and shape[2:] != (only_size, only_size):
        raise ValueError(
            f"Expected `images` to be {only_size} x {only_size}, the size that the network is built for, but got "
            f"{shape[2]} x {shape[3]}. Resize them, or build it for their size."
        )


def check_positive(name: str, value: int | None) -> None:
    """Raise ValueError for a count below one, or None, from a dataset that does not say how many channels it has."""
    if value is None or value < 1:
        remedy = "Set dataset.channels to 1 or 3." if value is None and name == "in_channels" else "Use 1 or more."
        raise ValueError(f"Expected `{name}` to be a positive integer, but got {value}. {remedy}")


def convolution(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Build a padded convolution without bias, as a batch norm follows, from He's normal distribution (fan-in)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


class Backbone(nn.Module):
    """A network without its final classifier.

    Args:
        trunk: maps (B, in_channels, H, W) to (B, num_features).
        num_features: width of its output.
        in_channels: channels of its images.
        min_size: smallest H and W that it takes.
        channels_last: keep weights and activations in the channels-last memory format, which is faster on GPUs with
            mixed precision.
        input_spec: the images that its weights were trained on; None where they are not pre-trained.
        only_size: the one H and W that it takes; None where it takes any from `min_size` on.

    Attributes:
        input: `input_spec`, which a dataset takes up.

    Example:
        >>> Backbone(nn.Flatten(), num_features=12, in_channels=3)(torch.zeros(5, 3, 2, 2)).shape
        torch.Size([5, 12])
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        in_channels: int,
        min_size: int = 1,
        channels_last: bool = False,
        input_spec: InputSpec | None = None,
        only_size: int | None = None,
    ) -> None:
        super().__init__()
        self.trunk, self.input, self.only_size = trunk, input_spec, only_size
        self.num_features, self.in_channels, self.min_size = num_features, in_channels, min_size
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to features (B, num_features)."""
        check_images(images, self.in_channels, self.min_size, self.only_size)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.trunk(images)
