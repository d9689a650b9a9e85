import re

import pytest
import torch

from semscale_pl.models.small_cnn import SmallCNN


@pytest.mark.parametrize("channels, size", [(1, 8), (1, 28), (3, 32), (1, 4)])
def test_features_have_the_stated_width(channels: int, size: int) -> None:
    backbone = SmallCNN(in_channels=channels)
    assert backbone(torch.randn(2, channels, size, size)).shape == (2, backbone.num_features) == (2, 64)


@pytest.mark.parametrize("channels, width", [(1, 32), (3, 32), (1, 16)])
def test_parameter_count_is_that_of_three_convolutions_and_norms(channels: int, width: int) -> None:
    expected = 9 * width * (channels + width + 2 * width) + 2 * (width + width + 2 * width)
    assert sum(p.numel() for p in SmallCNN(channels, width).parameters()) == expected
    assert (channels, width) != (1, 32) or expected == 28_192


def test_same_seed_same_weights_and_another_seed_others() -> None:
    def build(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in SmallCNN().parameters()])

    assert torch.equal(build(3), build(3))
    assert not torch.equal(build(3), build(4))


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    backbone = SmallCNN(in_channels=3)
    backbone(torch.randn(8, 3, 8, 8)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_channels_last_changes_the_layout_and_not_the_features() -> None:
    torch.manual_seed(0)
    plain, last = SmallCNN(in_channels=3), SmallCNN(in_channels=3, channels_last=True)
    last.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, 8, 8)
    assert last.trunk.block2[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last.eval()(images), plain.eval()(images))


@pytest.mark.parametrize(
    "shape, message",
    [
        ((2, 3, 8, 8), "Expected `images` to be (B, 1, H, W), but got (2, 3, 8, 8)."),
        ((1, 8, 8), "Expected `images` to be (B, 1, H, W), but got (1, 8, 8)."),
        ((2, 1, 3, 8), "Expected `images` to be at least 4 x 4, but got 3 x 8."),
    ],
)
def test_wrong_images_are_refused_in_one_line(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SmallCNN(in_channels=1)(torch.zeros(shape))


@pytest.mark.parametrize("arguments", [{"in_channels": 0}, {"width": -1}])
def test_counts_below_one_are_refused(arguments: dict[str, int]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}` to be a positive integer"):
        SmallCNN(**arguments)
