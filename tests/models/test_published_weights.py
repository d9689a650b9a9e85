"""Published weights that cannot be had are one line that names the network and the way out."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import pytest
import timm
import torchvision

from semscale_pl.models import stems, torchvision_backbones
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.timm_backbones import timm_backbone
from semscale_pl.models.torchvision_backbones import torchvision_backbone


def no_network(*_: Any, **__: Any) -> None:
    raise URLError("no route to host")


def test_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models, "get_model", no_network)
    with pytest.raises(ValueError, match=r"weights of resnet18, .* cannot be fetched: .*no route.* pretrained=false"):
        torchvision_backbone("resnet18", pretrained=True)


def test_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(ValueError, match=r"weights of seresnet50, .* cannot be fetched: .*no route.* pretrained=false"):
        timm_backbone("seresnet50", pretrained=True)


def test_a_hub_without_an_address_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def no_address(*_: Any) -> None:
        raise OSError("Name or service not known")

    def create(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(f"offline {constants.HF_HUB_OFFLINE}")

    monkeypatch.setattr(stems.socket, "getaddrinfo", no_address)
    monkeypatch.setattr(stems, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ValueError, match="cannot be fetched: offline True"):
        timm_backbone("seresnet50", pretrained=True)
    assert constants.HF_HUB_OFFLINE is False


def test_the_input_is_that_of_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_backbones, "_build", lambda name, pretrained: torchvision.models.get_model(name))
    colour, grey = (torchvision_backbone("resnet50", in_channels=n, pretrained=True).input for n in (3, 1))
    assert colour == InputSpec(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224 / 232, "bilinear")
    assert grey is not None
    assert grey.mean == pytest.approx((0.449,))
    assert torchvision_backbone("resnet18").input is None
