import re
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from semscale_pl.models import torchvision_backbones
from semscale_pl.models.torchvision_backbones import torchvision_backbone


def test_features_are_the_input_of_the_library_s_classifier() -> None:
    torch.manual_seed(0)
    library = torchvision.models.resnet18().eval()
    torch.manual_seed(0)
    backbone = torchvision_backbone("resnet18").eval()
    images, seen = torch.randn(2, 3, 64, 64), []
    library.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    library(images)
    assert torch.equal(backbone(images), seen[0])


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121"])
def test_gradient_reaches_every_parameter_with_the_small_stem(name: str) -> None:
    torch.manual_seed(0)
    backbone = torchvision_backbone(name, in_channels=1, input_stem="small")
    backbone(torch.randn(4, 1, 16, 16)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_same_seed_same_weights() -> None:
    torch.manual_seed(5)
    first = torchvision_backbone("resnet18", input_stem="small").state_dict()
    torch.manual_seed(5)
    second = torchvision_backbone("resnet18", input_stem="small").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_channels_last_changes_the_layout_and_not_the_features() -> None:
    torch.manual_seed(0)
    plain = torchvision_backbone("resnet18", input_stem="small").eval()
    last = torchvision_backbone("resnet18", input_stem="small", channels_last=True).eval()
    last.load_state_dict(plain.state_dict())
    seen: list[torch.Tensor] = []
    last.trunk.layer4.register_forward_hook(lambda _, __, out: seen.append(out))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(last(images), plain(images), rtol=1e-3, atol=1e-4)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_grey_images_through_published_weights_equal_their_three_equal_channels(monkeypatch: Any) -> None:
    def published(name: str, pretrained: bool) -> nn.Module:
        torch.manual_seed(7)
        return torchvision.models.get_model(name, weights=None)

    monkeypatch.setattr(torchvision_backbones, "_build", published)
    grey = torchvision_backbone("resnet18", in_channels=1, pretrained=True).eval()
    colour = torchvision_backbone("resnet18", in_channels=3, pretrained=True).eval()
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_weights_are_the_library_s_default_and_only_on_request(monkeypatch: Any) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def get_model(name: str, **options: Any) -> nn.Module:
        asked.append((name, options))
        return torchvision.models.resnet18() if name == "resnet18" else torchvision.models.GoogLeNet(init_weights=False)

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    for pretrained in (False, True):
        torchvision_backbone("resnet18", pretrained=pretrained)
    torchvision_backbone("googlenet", pretrained=True)
    assert asked == [
        ("resnet18", {"weights": None}),
        ("resnet18", {"weights": "DEFAULT"}),
        ("googlenet", {"weights": "DEFAULT", "aux_logits": False}),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "resnet17"}, "Expected `name` to be a torchvision"),
        ({"name": "vit_b_16"}, "Expected `name` to be a torchvision"),
        ({"input_stem": "smal"}, "Expected `input_stem` to be 'standard' or 'small', but got 'smal'."),
        ({"input_stem": "small", "pretrained": True}, "Expected `input_stem` to be 'standard' for pretrained weights"),
        (
            {"in_channels": 2, "pretrained": True},
            "Expected `in_channels` to be 1 or 3 for pretrained weights, but got 2",
        ),
        ({"in_channels": 0}, "Expected `in_channels` to be a positive integer, but got 0."),
        (
            {"name": "googlenet", "in_channels": 1, "pretrained": True},
            "Expected `in_channels` to be 3 for pretrained GoogLeNet, but got 1.",
        ),
    ],
)
def test_wrong_calls_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        torchvision_backbone(**({"name": "resnet18"} | arguments))
    assert "\n" not in str(caught.value)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("Expected `images` to be (B, 3, H, W), but got (2, 1, 32, 32).")):
        torchvision_backbone("resnet18")(torch.zeros(2, 1, 32, 32))
