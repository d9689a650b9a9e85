"""Blocks of a backbone: every parameter once, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
from torch import nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.blocks import blocks_of, frozen_modules
from semscale_pl.models.bn_inception import bn_inception
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.models.small_cnn import SmallCNN
from semscale_pl.models.torchvision_backbones import torchvision_backbone


def tiny_vit() -> Backbone:
    return Backbone(
        timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=0), 192, 3
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "small_cnn": (SmallCNN, 3, ["trunk.block1.0", "trunk.block2.0", "trunk.block3.0"]),
    "resnet32": (ResNetCifar, 16, ["conv", "stage1.0", "stage3.3", "stage3.4"]),
    "resnet18": (
        lambda: torchvision_backbone("resnet18"),
        9,
        ["trunk.conv1", "trunk.layer1.0", "trunk.layer4.0", "trunk.layer4.1"],
    ),
    "densenet201": (
        lambda: torchvision_backbone("densenet201"),
        8,
        [
            "trunk.features.conv0",
            "trunk.features.denseblock1",
            "trunk.features.transition3",
            "trunk.features.denseblock4",
        ],
    ),
    "googlenet": (lambda: torchvision_backbone("googlenet"), 12, ["trunk.conv1", "trunk.inception5b"]),
    "bn_inception": (bn_inception, 13, []),
    "vit": (tiny_vit, 3, ["trunk.cls_token", "trunk.blocks.0", "trunk.blocks.1"]),
    "efficientnet": (
        lambda: Backbone(timm.create_model("tf_efficientnet_lite0", num_classes=0), 1280, 3),
        17,
        ["trunk.conv_stem.weight", "trunk.blocks.5.3", "trunk.blocks.6.0"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_hold_every_parameter_once_in_order(name: str) -> None:
    build, count, expected = NETWORKS[name]
    network = build()
    blocks = blocks_of(network)
    held = [parameter for block in blocks for parameter in block.parameters]
    assert sorted(held) == sorted(parameter for parameter, _ in network.named_parameters())
    names = [block.name for block in blocks]
    assert len(blocks) == count
    assert len(set(names)) == count
    positions = [names.index(one) for one in expected]
    assert positions == sorted(positions)


def test_norms_belong_to_the_convolution_before_them() -> None:
    first = blocks_of(torchvision_backbone("resnet18"))[0]
    assert first.parameters == ("trunk.conv1.weight", "trunk.bn1.weight", "trunk.bn1.bias")


def test_the_largest_frozen_modules_are_found() -> None:
    network = SmallCNN()
    network.trunk.block1.requires_grad_(False)
    network.trunk.block2[0].requires_grad_(False)
    assert list(frozen_modules(network)) == [network.trunk.block1, network.trunk.block2[0]]
    assert list(frozen_modules(nn.Flatten())) == []
