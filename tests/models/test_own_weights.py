"""Weights of a file: found under any prefix and nesting, whole or refused by name, never loaded in silence."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.own_weights import FileBackbone, load, read_tensors
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.models.timm_backbones import timm_backbone
from semscale_pl.models.torchvision_backbones import torchvision_backbone


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


SHAPES: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state dict": lambda state: state,
    "data parallel": lambda state: {"state_dict": under("module.", state), "epoch": 3},
    "lightning": lambda state: {
        "state_dict": {**under("backbone.trunk.", state), "classifier.weight": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "pytorch-lightning_version": "2.6",
    },
    "compiled": lambda state: {"model": under("model._orig_mod.", state), "args": argparse.Namespace(lr=0.1)},
    "moco": lambda state: {"state_dict": {**under("module.encoder_q.", state), **under("module.encoder_k.", state)}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_found_in_checkpoints_of_any_shape(shape: str, tmp_path: Path) -> None:
    trained, fresh = network(1), network(2)
    torch.save(SHAPES[shape](trained.state_dict()), tmp_path / "x.pt")
    load(fresh, read_tensors(tmp_path / "x.pt"), "x.pt")
    for one, other in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_safetensors_and_what_is_passed_over(tmp_path: Path) -> None:
    trained = network(1)
    save_file({**under("encoder.", trained.state_dict()), "fc.bias": torch.ones(2)}, tmp_path / "x.safetensors")
    fresh = network(2)
    assert load(fresh, read_tensors(tmp_path / "x.safetensors"), "x") == ["fc.bias"]
    assert torch.equal(fresh[3].weight, trained[3].weight)


def test_what_is_missing_or_of_another_shape_is_named_and_nothing_is_loaded() -> None:
    fresh, before = network(2), {name: value.clone() for name, value in network(2).state_dict().items()}
    state = dict(network(1).state_dict())
    del state["3.bias"]
    with pytest.raises(ValueError, match=r"x\.pt to hold the weights of resnet8, but it has no 3\.bias\. Set"):
        load(fresh, state, "x.pt", "resnet8")
    state |= {"3.bias": torch.ones(3), "0.weight": torch.ones(2, 3, 3, 3)}
    with pytest.raises(ValueError, match=r"it has 0\.weight \(2, 3, 3, 3\) instead of \(2, 1, 3, 3\)"):
        load(fresh, state, "x.pt")
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is none at .*absent"):
        read_tensors(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match=r"text\.pt cannot be read without running code"):
        read_tensors(tmp_path / "text.pt")
    torch.save({"epoch": 1}, tmp_path / "none.pt")
    with pytest.raises(ValueError, match="hold weights by name, but it has none"):
        read_tensors(tmp_path / "none.pt")


def test_the_input_is_that_of_the_architecture_unless_it_is_known(tmp_path: Path) -> None:
    def of(architecture: Any, **options: Any) -> InputSpec | None:
        torch.save(architecture.state_dict(), tmp_path / "x.pt")
        return FileBackbone(architecture, str(tmp_path / "x.pt"), **options).input

    shown = of(timm_backbone("resnet10t"))
    assert shown is not None
    assert shown.image_size == 176
    shown = of(torchvision_backbone("resnet18"), name="resnet18")
    assert shown is not None
    assert shown.mean == (0.485, 0.456, 0.406)
    assert of(ResNetCifar(depth=8), name="resnet8") is None
    mine = {"image_size": 8, "mean": [0.1], "std": [0.2], "crop_share": 1.0, "interpolation": "bilinear"}
    assert of(ResNetCifar(depth=8), expected=mine) == InputSpec(8, (0.1,), (0.2,), 1.0, "bilinear")


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2, "no_embed_class": True}, {"dynamic_img_size": True}])
def test_position_embeddings_are_resampled_as_timm_does(options: dict[str, Any], tmp_path: Path) -> None:
    name, sizes = "vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2}
    saved = timm.create_model(name, img_size=48, num_classes=7, **sizes, **options)
    torch.save(
        {"state_dict": {f"module.model.{key}": value for key, value in saved.state_dict().items()}}, tmp_path / "x.pt"
    )
    torch.save(saved.state_dict(), tmp_path / "plain.pt")
    backbone = FileBackbone(_vit(32, sizes, options), str(tmp_path / "x.pt"), name)
    assert backbone.resampled is not None
    assert "from 6 x 6 to 4 x 4 patches; dataset.image_size=48" in backbone.resampled
    assert backbone.passed_over == ["module.model.head.weight", "module.model.head.bias"]
    overlay = {"file": str(tmp_path / "plain.pt"), "num_classes": 7}
    expected = timm.create_model(
        name, img_size=32, num_classes=0, pretrained=True, pretrained_cfg_overlay=overlay, **sizes, **options
    )
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(backbone.trunk.state_dict()[key], value, rtol=0, atol=0)
    same = FileBackbone(_vit(48, sizes, options), str(tmp_path / "plain.pt"), name)
    assert same.resampled is None


def _vit(side: int, sizes: dict[str, int], options: dict[str, Any]) -> Backbone:
    trunk = timm.create_model("vit_tiny_patch16_224", img_size=side, num_classes=0, **sizes, **options)
    return Backbone(trunk, sizes["embed_dim"], 3, only_size=side)


def test_position_embeddings_of_another_width_are_refused(tmp_path: Path) -> None:
    sizes = {"patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2}
    torch.save(_vit(48, {**sizes, "embed_dim": 24}, {}).trunk.state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ValueError, match=r"pos_embed \(1, 37, 24\) instead of \(1, 17, 12\)"):
        FileBackbone(_vit(32, sizes, {}), str(tmp_path / "wide.pt"), "vit")
