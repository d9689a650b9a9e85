"""VGG, GoogLeNet, ResNet, ResNeXt and DenseNet from torchvision, without their final classifier."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.stems import check_request, fetching, fit_stem, replace_module


@dataclass(frozen=True)
class Family:
    """Where the parts of a torchvision architecture are.

    Args:
        conv: path of the first convolution.
        pool: path of the max-pooling behind it, which the small stem drops; None where there is none.
        classifier: path of the final linear layer.
        min_size: smallest image side with the standard and with the small stem.
    """

    conv: str
    pool: str | None
    classifier: str
    min_size: tuple[int, int] = (1, 1)


FAMILIES = {
    "resnet": Family("conv1", "maxpool", "fc"),
    "resnext": Family("conv1", "maxpool", "fc"),
    "densenet": Family("features.conv0", "features.pool0", "classifier", (29, 8)),
    "googlenet": Family("conv1.conv", "maxpool1", "fc", (15, 4)),
    "vgg": Family("features.0", None, "classifier.6", (32, 32)),
}


def torchvision_backbone(
    name: str,
    *,
    in_channels: int = 3,
    input_stem: str = "standard",
    pretrained: bool = False,
    channels_last: bool = False,
) -> Backbone:
    """Build a torchvision network that ends at its features.

    Features are the final global average; GoogLeNet's and VGG's pass the dropout that stands before their classifier.
    GoogLeNet has no auxiliary classifiers. VGG ends after its second fully connected layer (fc7, 4,096 features) with
    the standard stem and at the globally pooled 512 features of its convolutions with the small one. Initial weights
    are the library's.

    Args:
        name: torchvision's name, such as "resnet50", "resnext50_32x4d", "densenet201", "vgg16_bn" or "googlenet".
        in_channels: 1 for greyscale, 3 for colour.
        input_stem: "standard" (ImageNet's) or "small" (32 x 32: 3x3 convolution of stride 1, no max-pooling).
        pretrained: load the library's ImageNet weights, which fetches them; the backbone's `input` says which images
            they expect.
        channels_last: channels-last memory format.

    Raises:
        ValueError: unknown name or stem, or weights that do not fit the first layer.

    Example:
        >>> torchvision_backbone("resnet18", input_stem="small").num_features
        512
    """
    check_request(in_channels, input_stem, pretrained)
    family = _family(name)
    if pretrained and name == "googlenet" and in_channels != 3:
        raise ValueError(
            f"Expected `in_channels` to be 3 for pretrained GoogLeNet, but got {in_channels}. Repeat the grey channel."
        )
    small = input_stem == "small"
    trunk = _build(name, pretrained)
    fit_stem(trunk, family.conv, family.pool, in_channels=in_channels, input_stem=input_stem, pretrained=pretrained)
    num_features = _drop_classifier(trunk, family, pooled_vgg=small and name.startswith("vgg"))
    expected = published_input(name).for_channels(in_channels) if pretrained else None
    return Backbone(trunk, num_features, in_channels, family.min_size[small], channels_last, expected)


def published_input(name: str) -> InputSpec:
    """Return the images that the library's default weights of a network were tested on.

    Example:
        >>> published_input("resnet18").image_size
        224
    """
    from torchvision.models import get_model_weights

    shown = get_model_weights(name).DEFAULT.transforms()
    size, side = shown.crop_size[0], shown.resize_size[0]
    return InputSpec(size, tuple(shown.mean), tuple(shown.std), size / side, shown.interpolation.value)


def _family(name: str) -> Family:
    from torchvision.models import list_models

    prefix = re.match("[a-z]*", name)
    family = FAMILIES.get(prefix.group() if prefix else "")
    if family is None or name not in list_models():
        raise ValueError(
            f"Expected `name` to be a torchvision {', '.join(sorted(FAMILIES))} network, but got {name!r}. "
            "Use for example 'resnet50'."
        )
    return family


def _build(name: str, pretrained: bool) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = {"aux_logits": False} if name == "googlenet" else {}
    if name == "googlenet" and not pretrained:
        options["init_weights"] = True
    with fetching(name):
        return get_model(name, weights="DEFAULT" if pretrained else None, **options)


def _drop_classifier(trunk: nn.Module, family: Family, pooled_vgg: bool) -> int:
    if pooled_vgg:
        replace_module(trunk, "avgpool", nn.AdaptiveAvgPool2d(1))
        replace_module(trunk, "classifier", nn.Identity())
        return 512
    num_features = trunk.get_submodule(family.classifier).in_features
    replace_module(trunk, family.classifier, nn.Identity())
    return int(num_features)  # type: ignore[arg-type]
