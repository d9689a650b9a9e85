"""Every backbone, built from its configuration file, against published parameter counts and operation counts."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from semscale_pl.models.torchvision_backbones import torchvision_backbone

CONF = Path(__file__).parents[2] / "conf"

# name: (features standard, features small, parameters with Linear(1000) and the standard stem,
#        10^9 multiply-adds of one 224 x 224 image, classifier included).
# Parameters and operations are those in the metadata of torchvision's weights. It does not have se_resnet50, resnext101
# (32x4d) and bn_inception: their operations are this project's own and only hold what was built. BN-Inception's
# parameters are the common port's 11,295,240 less its 10,016 biases of convolutions, which batch norms make idle.
TABLE = {
    "vgg16": (4096, 512, 138_365_992, 15.470),
    "bn_inception": (1024, 1024, 11_285_224, 2.03),
    "googlenet": (1024, 1024, 6_624_904, 1.498),
    "resnet18": (512, 512, 11_689_512, 1.814),
    "resnet34": (512, 512, 21_797_672, 3.664),
    "resnet50": (2048, 2048, 25_557_032, 4.089),
    "resnet101": (2048, 2048, 44_549_160, 7.801),
    "densenet201": (1920, 1920, 20_013_928, 4.291),
    "se_resnet50": (2048, 2048, 28_088_024, 4.09),
    "resnext50": (2048, 2048, 25_028_904, 4.230),
    "resnext101": (2048, 2048, 44_177_704, 7.97),
}
# Without a small stem: their own images are larger. EfficientNet-Lite0: its original's 4.7 million parameters.
PRETRAINED = {"efficientnet_lite0": (1280, 4_652_008)}
# Whatever they are told to build, and those of vectors.
ANY = {"timm", "file", "open_clip", "identity", "mlp"}
CIFAR = ("small_cnn", "resnet20", "resnet32", "resnet44", "resnet56")


def build(name: str, channels: int = 3, **changes: Any) -> nn.Module:
    arguments = yaml.safe_load((CONF / "backbone" / f"{name}.yaml").read_text())
    assert arguments.pop("in_channels") == "${dataset.channels}"
    module, _, factory = arguments.pop("_target_").rpartition(".")
    return getattr(import_module(module), factory)(in_channels=channels, **(arguments | changes))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_every_configured_backbone_is_in_a_table() -> None:
    assert {path.stem for path in (CONF / "backbone").glob("*.yaml")} == {*TABLE, *PRETRAINED, *ANY, *CIFAR}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_features_and_operations_with_the_standard_stem(name: str) -> None:
    width, _, parameters, operations = TABLE[name]
    with torch.device("meta"):
        backbone = build(name).eval()
        head = nn.Linear(backbone.num_features, 1000)
        with FlopCounterMode(display=False) as counter:
            features = backbone(torch.zeros(1, 3, 224, 224))
            head(features)
    assert features.shape == (1, width)
    assert backbone.num_features == width
    assert count(backbone) + count(head) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(operations, rel=2e-3)


@pytest.mark.parametrize("name", PRETRAINED)
def test_parameters_and_features_of_networks_without_a_small_stem(name: str) -> None:
    width, parameters = PRETRAINED[name]
    with torch.device("meta"):
        backbone = build(name).eval()
        head = nn.Linear(backbone.num_features, 1000)
        assert backbone(torch.zeros(2, 3, 224, 224)).shape == (2, width) == (2, backbone.num_features)
    assert count(backbone) + count(head) == parameters


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_small_stem_takes_32x32_and_keeps_everything_but_the_first_convolution(name: str, channels: int) -> None:
    with torch.device("meta"):
        standard, small = build(name, channels), build(name, channels, input_stem="small").eval()
        features = small(torch.zeros(2, channels, 32, 32))
    assert features.shape == (2, TABLE[name][1]) == (2, small.num_features)
    lost = 25_088 * 4096 + 4096 + 4096**2 + 4096 if name == "vgg16" else 64 * channels * (49 - 9)
    assert count(standard) - count(small) == lost


@pytest.mark.parametrize("name", [name for name in TABLE if name != "vgg16"])
def test_small_stem_pools_a_4x4_map_where_the_standard_stem_leaves_one_pixel(name: str) -> None:
    def last_map(stem: str) -> int:
        sides: list[int] = []
        with torch.device("meta"):
            backbone = build(name, input_stem=stem).eval()
            for module in backbone.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
            backbone(torch.zeros(1, 3, 32, 32))
        return next(side for side in reversed(sides) if side > 1 or stem == "standard")

    assert (last_map("standard"), last_map("small")) == (1, 4)


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_for_small_images_build_from_their_files(name: str, channels: int) -> None:
    with torch.device("meta"):
        backbone = build(name, channels)
        assert backbone(torch.zeros(2, channels, 32, 32)).shape == (2, 64)


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "vgg16_bn", "densenet201"])
@pytest.mark.parametrize("stem", ["standard", "small"])
def test_smallest_image_is_stated_exactly(name: str, stem: str) -> None:
    with torch.device("meta"):
        backbone = torchvision_backbone(name, input_stem=stem).eval()
        size = backbone.min_size
        assert backbone(torch.zeros(1, 3, size, size)).shape == (1, backbone.num_features)
        if size > 1:
            with pytest.raises(ValueError, match=f"Expected `images` to be at least {size} x {size}, but got"):
                backbone(torch.zeros(1, 3, size - 1, size))
            with pytest.raises(RuntimeError):
                backbone.trunk(torch.zeros(1, 3, size - 1, size - 1))


@pytest.mark.parametrize("name, head", [("linear", "LinearClassifier"), ("cosine", "CosineClassifier")])
def test_classifier_files_name_partial_heads(name: str, head: str) -> None:
    arguments = yaml.safe_load((CONF / "classifier" / f"{name}.yaml").read_text())
    assert arguments.pop("_partial_") is True
    module, _, factory = arguments.pop("_target_").rpartition(".")
    assert factory == head
    built = getattr(import_module(module), factory)(num_features=4, num_classes=3, **arguments)
    assert built(built.features(torch.zeros(2, 4))).shape == (2, 3)
