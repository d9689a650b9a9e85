"""Published weights that cannot be had are one line that names the network and the way out."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import pytest
import timm
import torchvision

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
