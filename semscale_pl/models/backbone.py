"""The common face of networks that come from libraries: images in, features out, the width known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semscale_pl.models.images import check_images


class Backbone(nn.Module):
    """A network without its final classifier.

    Args:
        trunk: maps (B, in_channels, H, W) to (B, num_features).
        num_features: width of its output.
        in_channels: channels of its images.
        min_size: smallest H and W that it takes.
        channels_last: keep weights and activations in the channels-last memory format, which is faster on GPUs with
            mixed precision.

    Example:
        >>> Backbone(nn.Flatten(), num_features=12, in_channels=3)(torch.zeros(5, 3, 2, 2)).shape
        torch.Size([5, 12])
    """

    def __init__(
        self, trunk: nn.Module, num_features: int, in_channels: int, min_size: int = 1, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.num_features, self.in_channels, self.min_size = num_features, in_channels, min_size
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to features (B, num_features)."""
        check_images(images, self.in_channels, self.min_size)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.trunk(images)
