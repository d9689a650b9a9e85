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
