"""The residual networks for 32 x 32 images of He et al. (CVPR 2016), section 4.2: ResNet-20, 32, 44, 56, 110."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.models.backbone import check_images, check_positive, convolution

WIDTHS = (16, 32, 64)


class ResNetCifar(nn.Module):
    """Map images to 64 features: a 3x3 convolution, three stages of ``(depth - 2) / 6`` blocks, a global average.

    Shortcuts have no parameters (option A): where a stage halves the image and doubles the channels, the identity is
    subsampled and padded with zero channels. Convolutions start from He's normal distribution (fan-in), batch norms as
    the identity.

    Args:
        depth: number of weighted layers, the classifier's included: 20, 32, 44, 56, 110 or another 6n + 2.
        in_channels: 1 for greyscale, 3 for colour.
        channels_last: keep the weights, and so the activations, in the channels-last memory format.

    Raises:
        ValueError: a depth that is not 6n + 2, or no channels.

    Example:
        >>> ResNetCifar(depth=20)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64])

    Reference: He et al., Deep Residual Learning for Image Recognition (CVPR 2016), section 4.2
    """

    def __init__(self, depth: int = 32, in_channels: int = 3, channels_last: bool = False) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"Expected `depth` to be 6n + 2, but got {depth}. Use 20, 32, 44, 56 or 110.")
        self.in_channels, self.num_features = in_channels, WIDTHS[-1]
        self.conv = convolution(in_channels, WIDTHS[0])
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        blocks = (depth - 2) // 6
        self.stage1 = _stage(WIDTHS[0], WIDTHS[0], blocks, stride=1)
        self.stage2 = _stage(WIDTHS[0], WIDTHS[1], blocks, stride=2)
        self.stage3 = _stage(WIDTHS[1], WIDTHS[2], blocks, stride=2)
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W), 32 x 32 in the paper, to features (B, 64), not negative."""
        check_images(images, self.in_channels)
        x = F.relu(self.norm(self.conv(images)), inplace=True)
        x = self.stage3(self.stage2(self.stage1(x)))
        return x.mean(dim=(2, 3))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride, and a shortcut without parameters; no fewer channels leave."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, stride=stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        if self.stride > 1 or self.new_channels > 0:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(x + residual, inplace=True)


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)))
