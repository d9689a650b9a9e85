"""A batch-normed CNN of about 28,000 parameters for 8 x 8 digits, 28 x 28 greyscale and 32 x 32 images."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from semscale_pl.models.backbone import Backbone, check_positive, convolution


class SmallCNN(Backbone):
    """Map images to ``2 * width`` features: three 3x3 convolutions, a halving after the first two, a global average.

    Convolutions start from He's normal distribution (fan-in), batch norms as the identity.

    Args:
        in_channels: 1 for greyscale, 3 for colour.
        width: channels of the first two convolutions; the third has twice as many.
        channels_last: keep weights and activations in the channels-last memory format.

    Raises:
        ValueError: an argument below one.

    Example:
        >>> import torch
        >>> SmallCNN(in_channels=1)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_channels: int = 1, width: int = 32, channels_last: bool = False) -> None:
        check_positive("in_channels", in_channels)
        check_positive("width", width)
        layers = {"block1": _block(in_channels, width), "pool1": nn.MaxPool2d(2)}
        layers |= {"block2": _block(width, width), "pool2": nn.MaxPool2d(2), "block3": _block(width, 2 * width)}
        layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__(nn.Sequential(OrderedDict(layers)), 2 * width, in_channels, 4, channels_last)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(convolution(in_channels, out_channels), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
