"""Any network of timm by its name: vision transformers, SE-ResNet-50, ResNeXt-101 32x4d and others."""

from __future__ import annotations

from typing import Any

from torch import nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.stems import check_request, fetching, fit_stem
from semscale_pl.options import check


def timm_backbone(
    name: str,
    *,
    in_channels: int = 3,
    input_stem: str = "standard",
    pretrained: bool = False,
    channels_last: bool = False,
    image_size: int | None = None,
) -> Backbone:
    """Build a timm network that ends at its pooled features.

    Initial weights are the library's. The small stem is offered for timm's ResNet family (conv1, then maxpool), which
    SE-ResNet and ResNeXt belong to.

    Args:
        name: timm's name, such as "seresnet50", "vit_small_patch14_dinov2" or, with a tag, "resnet50.a1_in1k".
        in_channels: 1 for greyscale, 3 for colour.
        input_stem: "standard" (ImageNet's) or "small" (32 x 32: 3x3 convolution of stride 1, no max-pooling).
        pretrained: load the library's weights of that name and tag, which fetches them; timm fits them to one channel.
        channels_last: channels-last memory format.
        image_size: height and width in pixels for networks that are built for one size, such as vision transformers,
            whose position embeddings timm then resamples; others take any. None is the network's own.

    Raises:
        ValueError: unknown name or stem, a stem that the network does not offer, or a size that patches do not fill.

    Example:
        >>> timm_backbone("seresnet50", input_stem="small").num_features
        2048
    """
    import timm

    check_request(in_channels, input_stem, pretrained)
    check("backbone", image_size=image_size)
    if not timm.is_model(name):
        raise ValueError(f"Expected `name` to be a timm model, but got {name!r}. See `timm.list_models()`.")
    with fetching(name):
        trunk = _built(name, image_size, pretrained=pretrained, in_chans=in_channels, num_classes=0)
    if input_stem == "small":
        if not (isinstance(getattr(trunk, "conv1", None), nn.Conv2d) and hasattr(trunk, "maxpool")):
            raise ValueError(
                f"Expected `input_stem` to be 'standard' for {name!r}, but got 'small'. Use a ResNet-like network."
            )
        fit_stem(trunk, "conv1", "maxpool", in_channels=in_channels, input_stem=input_stem)
    side = _only_size(trunk)
    check_patches(trunk, side)
    expected = expected_input(trunk).for_channels(in_channels) if pretrained else None
    if expected is not None and side is not None:
        expected = expected.at(side)
    return Backbone(
        trunk, width_of(trunk), in_channels, channels_last=channels_last, input_spec=expected, only_size=side
    )


def width_of(trunk: nn.Module) -> int:
    """Return the width of a timm network's output, which a few families widen before their classifier."""
    return int(getattr(trunk, "head_hidden_size", None) or trunk.num_features)  # type: ignore[arg-type]


def expected_input(trunk: nn.Module) -> InputSpec:
    """Return the images that timm's weights of a network were tested on, of three channels."""
    from timm.data import resolve_model_data_config

    shown = resolve_model_data_config(trunk)
    known = shown["interpolation"] if shown["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    # Squashed images keep their borders, as with a crop of everything.
    share = 1.0 if shown["crop_mode"] == "squash" else shown["crop_pct"]
    return InputSpec(shown["input_size"][-1], tuple(shown["mean"]), tuple(shown["std"]), share, known)


def check_patches(trunk: nn.Module, side: int | None) -> None:
    """Raise ValueError where the patches of a vision transformer do not fill its images of `side` pixels."""
    patch = getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
    edge = int(patch[0] if isinstance(patch, tuple) else patch or 1)
    if side is not None and side % edge:
        near = [size for size in (side // edge * edge, -(-side // edge) * edge) if size]
        raise ValueError(
            f"Expected dataset.image_size to be a multiple of {edge}, the side of the network's patches, but got "
            f"{side}. Use {' or '.join(map(str, near))}."
        )


def _built(name: str, image_size: int | None, **options: Any) -> nn.Module:
    import timm

    if image_size is not None:
        try:
            return timm.create_model(name, img_size=image_size, **options)
        except TypeError as error:  # of networks that take any size
            if "img_size" not in str(error):
                raise
    return timm.create_model(name, **options)


def _only_size(trunk: nn.Module) -> int | None:
    """Return the side of the images that a network is built for; None where it takes any."""
    embedding = getattr(trunk, "patch_embed", None)
    size = getattr(embedding, "img_size", None)
    return int(size[0]) if size is not None and getattr(embedding, "strict_img_size", True) else None
