"""BN-Inception, the batch-normalized Inception network of Ioffe and Szegedy (ICML 2015)."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.models.backbone import Backbone, convolution
from semscale_pl.models.stems import check_request, fit_stem


class Widths(NamedTuple):
    """A row of the paper's layer table: channels of the parts of an Inception module.

    In a module that halves the image ``one`` is 0, and so is ``proj``: the pooled input passes through.
    """

    one: int  # 1x1
    three_reduce: int  # 1x1 before the 3x3
    three: int
    double_reduce: int  # 1x1 before the two 3x3
    double: int  # each of the two
    pool: str  # "avg" or "max"
    proj: int  # 1x1 behind the pooling

    @property
    def out_channels(self) -> int:
        """Channels that the convolutions give, without a passed-through input."""
        return self.one + self.three + self.double + self.proj


# The table prints 576 output channels for 4c and 1,024 for 4e, but the widths of its rows add up to 608 and 1,056,
# as in the published ports.
MODULES = OrderedDict(
    inception_3a=Widths(64, 64, 64, 64, 96, "avg", 32),
    inception_3b=Widths(64, 64, 96, 64, 96, "avg", 64),
    inception_3c=Widths(0, 128, 160, 64, 96, "max", 0),
    inception_4a=Widths(224, 64, 96, 96, 128, "avg", 128),
    inception_4b=Widths(192, 96, 128, 96, 128, "avg", 128),
    inception_4c=Widths(160, 128, 160, 128, 160, "avg", 128),
    inception_4d=Widths(96, 128, 192, 160, 192, "avg", 128),
    inception_4e=Widths(0, 128, 192, 192, 256, "max", 0),
    inception_5a=Widths(352, 192, 320, 160, 224, "avg", 128),
    inception_5b=Widths(352, 192, 320, 192, 224, "max", 128),
)


def bn_inception(*, in_channels: int = 3, input_stem: str = "standard", channels_last: bool = False) -> Backbone:
    """Build BN-Inception with 1,024 globally averaged features; about 11.3 million parameters with 1,000 classes.

    The first convolution is dense, as in the published ports; the paper's is separable with depth multiplier 8.
    Convolutions have no bias, for a batch norm follows each. They start from He's normal distribution (fan-in), batch
    norms as the identity. No library publishes weights for it, so there is no ``pretrained``.

    Args:
        in_channels: 1 for greyscale, 3 for colour.
        input_stem: "standard" (ImageNet's) or "small" (32 x 32: 3x3 convolution of stride 1, no first max-pooling).
        channels_last: channels-last memory format.

    Raises:
        ValueError: unknown stem or no channels.

    Example:
        >>> bn_inception(in_channels=1).num_features
        1024

    Reference: Ioffe and Szegedy, Batch Normalization (ICML 2015), appendix, figure 5
    """
    check_request(in_channels, input_stem, pretrained=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_unit(3, 64, 7, stride=2), pool1=HalvingMaxPool(), conv2_reduce=_unit(64, 64, 1)
    )
    layers.update(conv2=_unit(64, 192, 3), pool2=HalvingMaxPool())
    channels = 192
    for name, widths in MODULES.items():
        layers[name] = InceptionModule(channels, widths)
        channels = widths.out_channels + (0 if widths.proj else channels)
    layers.update(average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    trunk = nn.Sequential(layers)
    fit_stem(trunk, "conv1.conv", "pool1", in_channels=in_channels, input_stem=input_stem)
    return Backbone(trunk, channels, in_channels, channels_last=channels_last)


class InceptionModule(nn.Module):
    """Parallel branches, joined along the channels: 1x1, 3x3, two 3x3, pooling.

    With ``widths`` without ``one`` and ``proj`` it halves the image.
    """

    def __init__(self, in_channels: int, widths: Widths) -> None:
        super().__init__()
        stride = 1 if widths.proj else 2
        branches: dict[str, nn.Module] = {"one_branch": _unit(in_channels, widths.one, 1)} if widths.one else {}
        branches["three_branch"] = nn.Sequential(
            _unit(in_channels, widths.three_reduce, 1), _unit(widths.three_reduce, widths.three, 3, stride)
        )
        branches["double_branch"] = nn.Sequential(
            _unit(in_channels, widths.double_reduce, 1),
            _unit(widths.double_reduce, widths.double, 3),
            _unit(widths.double, widths.double, 3, stride),
        )
        if widths.proj:
            pool = (nn.AvgPool2d if widths.pool == "avg" else nn.MaxPool2d)(3, stride=1, padding=1)
            branches["pool_branch"] = nn.Sequential(pool, _unit(in_channels, widths.proj, 1))
        else:
            branches["pool_branch"] = HalvingMaxPool()
        self.branches = nn.ModuleDict(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W), or half the height and width, rounded up."""
        return torch.cat([branch(x) for branch in self.branches.values()], dim=1)


class HalvingMaxPool(nn.Module):
    """3x3 max-pooling of stride 2 with windows from the border on, to half the size, rounded up.

    Odd sizes get one more row and column, so that the result has the size that a padded convolution of stride 2 gives.
    Zeros do for it: the input comes from a ReLU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W), not negative, to (B, C, ceil(H / 2), ceil(W / 2))."""
        padded = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return F.max_pool2d(padded, 3, stride=2, ceil_mode=True)


def _unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = convolution(in_channels, out_channels, kernel, stride)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels), relu=nn.ReLU(inplace=True)))
