"""A batch-normed CNN of about 28,000 parameters for 8 x 8 digits, 28 x 28 greyscale and 32 x 32 images."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from semscale_pl.models.backbone import check_images, check_positive


class SmallCNN(nn.Module):
    """Map images to ``2 * width`` features: three 3x3 convolutions, a halving after the first two, a global average.

    Convolutions start from He's normal distribution (fan-in), batch norms as the identity.

    Args:
        in_channels: 1 for greyscale, 3 for colour.
        width: channels of the first two convolutions; the third has twice as many.
        channels_last: keep the weights, and so the activations, in the channels-last memory format.

    Raises:
        ValueError: an argument below one.

    Example:
        >>> SmallCNN(in_channels=1)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_channels: int = 1, width: int = 32, channels_last: bool = False) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("width", width)
        self.in_channels, self.num_features = in_channels, 2 * width
        self.trunk = nn.Sequential(
            OrderedDict(
                block1=_block(in_channels, width),
                pool1=nn.MaxPool2d(2),
                block2=_block(width, width),
                pool2=nn.MaxPool2d(2),
                block3=_block(width, 2 * width),
                average=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
            )
        )
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Return features.

        Args:
            images: (B, in_channels, H, W), H and W at least 4.

        Returns:
            (B, 2 * width), not negative.
        """
        check_images(images, self.in_channels, min_size=4)
        return self.trunk(images)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
