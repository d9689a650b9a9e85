"""Networks that torchvision lacks, from timm: SE-ResNet-50, ResNeXt-101 32x4d and others."""

from __future__ import annotations

from torch import nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.stems import check_request, fetching, fit_stem


def timm_backbone(
    name: str,
    *,
    in_channels: int = 3,
    input_stem: str = "standard",
    pretrained: bool = False,
    channels_last: bool = False,
) -> Backbone:
    """Build a timm network that ends at its pooled features.

    Initial weights are the library's. The small stem is offered for timm's ResNet family (conv1, then maxpool), which
    SE-ResNet and ResNeXt belong to.

    Args:
        name: timm's name, such as "seresnet50" or "resnext101_32x4d".
        in_channels: 1 for greyscale, 3 for colour.
        input_stem: "standard" (ImageNet's) or "small" (32 x 32: 3x3 convolution of stride 1, no max-pooling).
        pretrained: load the library's default weights, which fetches them; timm fits them to one channel.
        channels_last: channels-last memory format.

    Raises:
        ValueError: unknown name or stem, or a stem that the network does not offer.

    Example:
        >>> timm_backbone("seresnet50", input_stem="small").num_features
        2048
    """
    import timm

    check_request(in_channels, input_stem, pretrained)
    if not timm.is_model(name):
        raise ValueError(f"Expected `name` to be a timm model, but got {name!r}. See `timm.list_models()`.")
    with fetching(name):
        trunk = timm.create_model(name, pretrained=pretrained, in_chans=in_channels, num_classes=0)
    if input_stem == "small":
        if not (isinstance(getattr(trunk, "conv1", None), nn.Conv2d) and hasattr(trunk, "maxpool")):
            raise ValueError(
                f"Expected `input_stem` to be 'standard' for {name!r}, but got 'small'. Use a ResNet-like network."
            )
        fit_stem(trunk, "conv1", "maxpool", in_channels=in_channels, input_stem=input_stem)
    num_features = int(trunk.num_features)  # type: ignore[arg-type]
    return Backbone(trunk, num_features, in_channels, channels_last=channels_last)
