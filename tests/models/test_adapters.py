"""Adapters of vision transformers start as nothing, follow their formula, and alone are trained."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from semscale_pl.models.adapters import Adapters, AdaptFormer, LoRA, ParallelBranch
from semscale_pl.models.backbone import Backbone
from semscale_pl.models.small_cnn import SmallCNN

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="pip install 'semscale-pl[finetune]'")
KINDS = [
    pytest.param(lambda **more: AdaptFormer(dim=4, **more), id="adaptformer"),
    pytest.param(lambda **more: AdaptFormer(dim=4, scale="learned", own_norm=True, **more), id="lift"),
    pytest.param(lambda **more: LoRA(rank=2, targets=["qkv", "fc1"], **more), id="lora", marks=needs_peft),
]


def tiny(name: str = "vit_tiny_patch16_224", **options: Any) -> Backbone:
    torch.manual_seed(0)
    network = timm.create_model(name, img_size=16, patch_size=8, depth=2, num_classes=0, **options)
    return Backbone(network, int(network.num_features), 3).eval()


IMAGES = torch.linspace(-1, 1, 3 * 3 * 256).reshape(3, 3, 16, 16).sin()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(pytest.param("vit_tiny_patch16_224", *kind.values, id=kind.id, marks=kind.marks) for kind in KINDS),
        pytest.param("eva02_tiny_patch14_224", lambda: AdaptFormer(dim=4), id="eva"),
        pytest.param("vit_small_patch14_dinov2", lambda: AdaptFormer(dim=4), id="layer scale"),
    ],
)
def test_the_network_is_unchanged_at_first_and_alone_the_adapters_are_trained(name: str, kind: Any) -> None:
    backbone = tiny(name)
    before, count = backbone(IMAGES), len(list(backbone.parameters()))
    kind().prepare(backbone)
    torch.testing.assert_close(backbone(IMAGES), before, rtol=0, atol=1e-6)
    trained = {name for name, one in backbone.named_parameters() if one.requires_grad}
    assert len(list(backbone.parameters())) == count + len(trained)
    assert all("lora" in name or ".mlp.down" in name or ".mlp.up" in name or "branch_norm" in name or "scale" in name
               for name in trained)  # fmt: skip
    backbone.train()
    backbone(IMAGES).square().sum().backward()
    assert {name for name, one in backbone.named_parameters() if one.grad is not None} == trained


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_blocks_get_one(kind: Any) -> None:
    backbone = tiny()
    kind(train_last=1).prepare(backbone)
    assert {name.split(".")[2] for name, one in backbone.named_parameters() if one.requires_grad} == {"1"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_restores_in_a_network_made_the_same_way(kind: Any) -> None:
    backbone, again = tiny(), tiny()
    for network in (backbone, again):
        kind().prepare(network)
    with torch.no_grad():
        for one in backbone.parameters():
            one.add_(0.01)
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again(IMAGES), backbone(IMAGES))


@pytest.mark.parametrize("own_norm", [False, True])
def test_the_branch_is_that_of_the_paper(own_norm: bool) -> None:
    """In NumPy: MLP(LN(x)) + s ReLU(LN(x) D + d) U + u."""
    torch.manual_seed(1)
    branch = ParallelBranch(nn.LayerNorm(6), nn.Linear(6, 6), dim=3, scale=0.1, own_norm=own_norm).double()
    with torch.no_grad():
        for one in branch.parameters():
            one.copy_(torch.randn_like(one))
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    state = {name: value.numpy() for name, value in branch.state_dict().items()}

    def normed(values: np.ndarray, name: str) -> np.ndarray:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    first = normed(x.numpy(), "norm")
    entering = normed(x.numpy(), "branch_norm") if own_norm else first
    inner = np.maximum(entering @ state["down.weight"].T + state["down.bias"], 0)
    expected = (
        first @ state["mlp.weight"].T + state["mlp.bias"] + 0.1 * (inner @ state["up.weight"].T + state["up.bias"])
    )
    np.testing.assert_allclose(branch(x).detach().numpy(), expected, rtol=1e-12)


@needs_peft
def test_an_update_of_rank_r_enters_with_alpha_over_r() -> None:
    backbone = tiny()
    qkv = backbone.trunk.blocks[1].attn.qkv  # type: ignore[union-attr, index]
    LoRA(rank=2, alpha=6.0, train_last=1).prepare(backbone)
    wrapped = backbone.trunk.blocks[1].attn.qkv  # type: ignore[union-attr, index]
    a, b = wrapped.lora_A["default"].weight, wrapped.lora_B["default"].weight
    assert torch.equal(b, torch.zeros_like(b))
    with torch.no_grad():
        b.normal_()
    x = torch.randn(4, 192)
    torch.testing.assert_close(wrapped(x), qkv(x) + 6.0 / 2 * (x @ a.T @ b.T))


def test_a_tower_of_open_clip_is_unchanged_at_first() -> None:
    pytest.importorskip("open_clip", reason="pip install 'semscale-pl[open_clip]'")
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(image_size=16, patch_size=8, width=32, layers=2, heads=2, mlp_ratio=2, output_dim=16)
    backbone = Backbone(tower, 16, 3).eval()
    before = backbone(IMAGES)
    AdaptFormer(dim=4).prepare(backbone)
    torch.testing.assert_close(backbone(IMAGES), before, rtol=0, atol=1e-6)
    backbone(IMAGES).square().sum().backward()
    trained = {name for name, one in backbone.named_parameters() if one.grad is not None}
    parts = ("down.weight", "down.bias", "up.weight", "up.bias")
    assert trained == {f"trunk.transformer.resblocks.{block}.mlp.{part}" for block in range(2) for part in parts}


def test_other_networks_and_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected a vision transformer of timm or open_clip for adapters"):
        AdaptFormer().prepare(SmallCNN())
    with pytest.raises(ValueError, match="to be at most 2, the blocks of the backbone, but got 3"):
        AdaptFormer(train_last=3).prepare(tiny())
    with pytest.raises(TypeError, match="Use AdaptFormer or LoRA"):
        Adapters().prepare(tiny())


@needs_peft
def test_linear_maps_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"linear maps of the blocks, fc1, fc2, proj, qkv, but got 'query'"):
        LoRA(targets=["query"]).prepare(tiny())


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "semscale-pl\[finetune\]"'):
        LoRA()
