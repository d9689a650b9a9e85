import pytest
import torch
from torch.nn import functional as F

from semscale_pl.models.bn_inception import MODULES, HalvingMaxPool, InceptionModule, bn_inception

# Ioffe and Szegedy (ICML 2015), figure 5: output size and channels at 224 x 224; 4c and 4e with the
# sums of their own rows, 608 and 1,056, where the paper prints 576 and 1,024.
OUTPUTS = {
    "conv1": (112, 64),
    "pool1": (56, 64),
    "conv2": (56, 192),
    "pool2": (28, 192),
    "inception_3a": (28, 256),
    "inception_3b": (28, 320),
    "inception_3c": (14, 576),
    "inception_4a": (14, 576),
    "inception_4b": (14, 576),
    "inception_4c": (14, 608),
    "inception_4d": (14, 608),
    "inception_4e": (7, 1056),
    "inception_5a": (7, 1024),
    "inception_5b": (7, 1024),
}


def test_maps_have_the_sizes_of_the_layer_table() -> None:
    with torch.device("meta"):
        layers = bn_inception().eval().trunk
        x, seen = torch.zeros(1, 3, 224, 224), {}
        for name, layer in layers.named_children():
            x = layer(x)
            seen[name] = (x.shape[-1], x.shape[1]) if x.ndim == 4 else ()
    assert {name: seen[name] for name in OUTPUTS} == OUTPUTS


@pytest.mark.parametrize("name", MODULES)
def test_module_joins_1x1_3x3_double_3x3_and_pooling(name: str) -> None:
    torch.manual_seed(0)
    module, widths = InceptionModule(8, MODULES[name]).eval(), MODULES[name]
    x = torch.rand(2, 8, 6, 6)

    def unit(layer: torch.nn.Module, y: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = layer.conv.weight
        return F.relu(F.conv2d(y, weight, stride=stride, padding=weight.shape[-1] // 2) / (1 + 1e-5) ** 0.5)

    stride = 1 if widths.proj else 2
    parts = {layer: module.branches[f"{layer}_branch"] for layer in ("three", "double", "pool")}
    expected = [unit(module.branches["one_branch"], x)] if widths.one else []
    expected.append(unit(parts["three"][1], unit(parts["three"][0], x), stride))
    expected.append(unit(parts["double"][2], unit(parts["double"][1], unit(parts["double"][0], x)), stride))
    if not widths.proj:
        expected.append(F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2))
    else:
        around = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        expected.append(unit(parts["pool"][1], around.mean(-1) if widths.pool == "avg" else around.amax(-1)))
    torch.testing.assert_close(module(x), torch.cat(expected, dim=1))


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
def test_halving_pool_rounds_up_and_takes_the_largest_of_each_window(size: int) -> None:
    x, half = torch.rand(1, 1, size, size), (size + 1) // 2
    expected = torch.stack(
        [x[0, 0, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max() for r in range(half) for c in range(half)]
    )
    assert torch.equal(HalvingMaxPool()(x).flatten(), expected)


@pytest.mark.parametrize("stem, size", [("standard", 33), ("small", 32), ("small", 7)])
def test_images_of_any_size_give_1024_features(stem: str, size: int) -> None:
    backbone = bn_inception(in_channels=1, input_stem=stem).eval()
    assert backbone(torch.rand(2, 1, size, size)).shape == (2, backbone.num_features) == (2, 1024)


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    backbone = bn_inception(input_stem="small")
    backbone(torch.randn(4, 3, 16, 16)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_wrong_stem_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `input_stem` to be 'standard' or 'small', but got 'big'"):
        bn_inception(input_stem="big")
