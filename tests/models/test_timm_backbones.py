import re
from typing import Any

import pytest
import torch

from semscale_pl.models.timm_backbones import timm_backbone


def test_se_resnet_has_squeeze_and_excitation_and_trains() -> None:
    torch.manual_seed(0)
    backbone = timm_backbone("seresnet50", in_channels=1, input_stem="small")
    assert backbone.trunk.layer1[0].se is not None
    features = backbone(torch.randn(4, 1, 16, 16))
    features.pow(2).sum().backward()
    assert features.shape == (4, backbone.num_features) == (4, 2048)
    assert all(p.grad is not None for p in backbone.parameters())


def test_channels_last_reaches_the_weights() -> None:
    with torch.device("meta"):
        backbone = timm_backbone("seresnet50", channels_last=True)
    assert backbone.trunk.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "seresnet5"}, "Expected `name` to be a timm model, but got 'seresnet5'."),
        ({"input_stem": "tiny"}, "Expected `input_stem` to be 'standard' or 'small', but got 'tiny'."),
        ({"input_stem": "small", "pretrained": True}, "Expected `input_stem` to be 'standard' for pretrained weights"),
        (
            {"name": "vit_tiny_patch16_224", "input_stem": "small"},
            "Expected `input_stem` to be 'standard' for 'vit_tiny",
        ),
    ],
)
def test_wrong_calls_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=re.escape(message)) as caught:
        timm_backbone(**({"name": "seresnet50"} | arguments))
    assert "\n" not in str(caught.value)


def test_a_vision_transformer_is_built_for_the_size_of_its_images() -> None:
    backbone = timm_backbone("vit_tiny_patch16_224", image_size=32, in_channels=1).eval()
    assert backbone(torch.zeros(2, 1, 32, 32)).shape == (2, 192)
    with pytest.raises(ValueError, match="Expected `images` to be 32 x 32, the size that the network is built for"):
        backbone(torch.zeros(2, 1, 48, 48))


def test_a_network_of_any_size_takes_no_notice_of_the_size() -> None:
    backbone = timm_backbone("resnet10t", image_size=32).eval()
    assert backbone(torch.zeros(1, 3, 48, 40)).shape == (1, 512)


def test_patches_have_to_fill_the_images() -> None:
    message = "Expected dataset.image_size to be a multiple of 14, .* but got 96. Use 84 or 98."
    with pytest.raises(ValueError, match=message):
        timm_backbone("vit_small_patch14_dinov2", image_size=96)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "deit_tiny_distilled_patch16_224", "levit_128s"])
def test_width_is_that_of_the_output(name: str) -> None:
    backbone = timm_backbone(name).eval()
    assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, backbone.num_features)
