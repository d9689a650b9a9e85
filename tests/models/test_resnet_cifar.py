import pytest
import torch
from torch import nn

from semscale_pl.models.resnet_cifar import BasicBlock, ResNetCifar

# He et al. (CVPR 2016), section 4.2: output map size, channels, and number of 3x3 layers of each part for ResNet-20.
LAYERS_OF_RESNET20 = [(32, 3, 16)] + [(32, 16, 16)] * 6 + [(16, 16, 32)] + [(16, 32, 32)] * 5 + [(8, 32, 64)]
LAYERS_OF_RESNET20 += [(8, 64, 64)] * 5


def convolutions(backbone: nn.Module, images: torch.Tensor) -> list[tuple[int, int, int]]:
    seen: list[tuple[int, int, int]] = []

    def note(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        assert layer.kernel_size == (3, 3)
        assert layer.bias is None
        seen.append((output.shape[-1], layer.in_channels, layer.out_channels))

    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    backbone(images)
    return seen


def test_resnet20_has_the_layers_of_the_paper() -> None:
    assert convolutions(ResNetCifar(20), torch.zeros(1, 3, 32, 32)) == LAYERS_OF_RESNET20


@pytest.mark.parametrize("depth, millions", [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameter_count_with_ten_classes(depth: int, millions: float) -> None:
    with torch.device("meta"):
        backbone = ResNetCifar(depth)
    blocks = (depth - 2) // 6
    weights = 9 * (
        3 * 16 + 2 * blocks * 16**2 + 16 * 32 + (2 * blocks - 1) * 32**2 + 32 * 64 + (2 * blocks - 1) * 64**2
    )
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    count = sum(p.numel() for p in backbone.parameters())
    assert count == weights + norms
    assert round((count + 64 * 10 + 10) / 1e6, 1 if depth == 110 else 2) == millions
    assert sum(isinstance(m, nn.Conv2d) for m in backbone.modules()) + 1 == depth


def test_shortcut_without_parameters_subsamples_and_appends_zero_channels() -> None:
    block = BasicBlock(2, 4, stride=2)
    nn.init.zeros_(block.norm2.weight)  # the residual branch gives 0, so the block shows its shortcut
    x = torch.rand(3, 2, 5, 5)
    expected = torch.zeros(3, 4, 3, 3)
    for row in range(3):
        for column in range(3):
            expected[:, :2, row, column] = x[:, :, 2 * row, 2 * column]
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("channels, size", [(3, 32), (1, 28), (3, 8)])
def test_features_have_64_dimensions(channels: int, size: int) -> None:
    backbone = ResNetCifar(20, in_channels=channels)
    assert backbone.num_features == 64
    assert backbone(torch.randn(2, channels, size, size)).shape == (2, 64)


def test_same_seed_same_weights() -> None:
    torch.manual_seed(1)
    first = ResNetCifar(20).state_dict()
    torch.manual_seed(1)
    second = ResNetCifar(20).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_convolutions_start_from_he_normal() -> None:
    torch.manual_seed(0)
    weight = ResNetCifar(20).stage3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    backbone = ResNetCifar(20)
    backbone(torch.randn(4, 3, 16, 16)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_channels_last_changes_the_layout_and_not_the_features() -> None:
    torch.manual_seed(0)
    plain, last = ResNetCifar(20).eval(), ResNetCifar(20, channels_last=True).eval()
    last.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert last.stage2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(images), plain(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 18, 34, -4])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `depth` to be 6n \\+ 2, but got {depth}"):
        ResNetCifar(depth)
