"""What is trained of a backbone, what stays, and the learning rates of its blocks."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from semscale_pl.losses import CrossEntropy, SigmoidFocal
from semscale_pl.models.backbone import Backbone
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.models.small_cnn import SmallCNN
from semscale_pl.modules.classifier import ImbalancedClassifier


def module_of(finetuning: FineTuning, backbone: nn.Module | None = None, **arguments: object) -> ImbalancedClassifier:
    network = SmallCNN(width=4) if backbone is None else backbone
    finetuning.prepare(network)
    return ImbalancedClassifier(
        network,
        LinearClassifier(int(network.num_features), 3),
        arguments.get("loss", CrossEntropy()),
        lambda these: torch.optim.SGD(these, lr=0.1, momentum=0.9, weight_decay=0.5),
        num_classes=3,
        finetuning=finetuning,
    )


def step(module: ImbalancedClassifier, images: torch.Tensor) -> set[str]:
    """Take a step and return the names of what has changed in the state."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = module.configure_optimizers()
    module(images).square().sum().backward()
    optimizer.step()
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


IMAGES = torch.linspace(-1, 1, 5 * 64).reshape(5, 1, 8, 8).square()


@pytest.mark.parametrize(("last", "moving"), [(0, ()), (1, ("block3",)), (2, ("block2", "block3"))])
def test_only_the_last_blocks_and_the_head_move(last: int, moving: tuple[str, ...]) -> None:
    module = module_of(FineTuning(train_last=last)).train()
    whole = {name for name in module.state_dict() if name.startswith("classifier") or name.split(".")[2] in moving}
    assert step(module, IMAGES) == whole
    assert all(one.grad is None for one in module.parameters() if not one.requires_grad)


def test_frozen_batch_norms_may_follow_the_images() -> None:
    module = module_of(FineTuning(train_last=0, update_statistics=True)).train()
    statistics = {name for name in module.state_dict() if "running" in name or "num_batches" in name}
    assert step(module, IMAGES) == statistics | {"classifier.linear.weight", "classifier.linear.bias"}


def test_a_frozen_backbone_keeps_no_graph_and_no_dropout() -> None:
    network = nn.Sequential(SmallCNN(width=4), nn.Dropout(0.5))
    network.num_features = 8  # type: ignore[assignment]
    module = module_of(FineTuning(train_last=0), network).train()
    assert module.training
    features = module.features(IMAGES)
    assert not features.requires_grad
    assert torch.equal(features, module.eval().features(IMAGES))
    assert module.train().backbone.training is False


def test_the_defaults_change_nothing() -> None:
    module = module_of(FineTuning())
    groups = module.configure_optimizers().param_groups
    assert [id(one) for group in groups for one in group["params"]] == [id(one) for one in module.parameters()]
    assert len(groups) == 1
    assert "name" not in groups[0]
    module.backbone.trunk.block1.requires_grad_(False)  # by hand, for reasons of its own
    assert module.train().backbone.trunk.block1.training


def test_rates_of_backbone_and_head_and_the_bias_that_is_spared_weight_decay() -> None:
    module = module_of(FineTuning(train_last=1, backbone_lr=0.01), loss=SigmoidFocal())
    groups = {group["name"]: group for group in module.configure_optimizers().param_groups}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "backbone": (0.01, 0.5),
        "head": (0.1, 0.5),
        "offsets": (0.1, 0.0),
    }
    assert [len(group["params"]) for group in groups.values()] == [3, 1, 1]


def test_rates_decay_block_by_block() -> None:
    module = module_of(FineTuning(layer_decay=0.5), ResNetCifar(depth=8))
    optimizer = module.configure_optimizers()
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == pytest.approx(
        {"backbone.conv": 0.1 / 16, "backbone.stage1.0": 0.1 / 8, "backbone.stage2.0": 0.1 / 4,
         "backbone.stage3.0": 0.1 / 2, "head": 0.1}
    )  # fmt: skip
    held = [id(one) for group in optimizer.param_groups for one in group["params"]]
    assert sorted(held) == sorted(id(one) for one in module.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 / 2 / 2**k for k in (4, 3, 2, 1, 0)])


def test_rates_of_a_vision_transformer_decay_as_timms_own() -> None:
    """Timm counts the head as a layer; the norm before it, and what it calls the last layer, may differ."""
    options = {"img_size": 32, "patch_size": 8, "depth": 3}
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    trunk = timm.create_model("vit_tiny_patch16_224", num_classes=0, **options)
    theirs = {}
    for group in param_groups_layer_decay(whole, weight_decay=0.0, layer_decay=0.7):
        theirs |= {id(one): group["lr_scale"] for one in group["params"]}
    expected = {
        f"trunk.{name}": theirs[id(one)] for name, one in whole.named_parameters() if not name.startswith("head")
    }
    backbone = Backbone(trunk, 192, 3)
    names = {id(one): name for name, one in backbone.named_parameters()}
    groups = FineTuning(layer_decay=0.7).groups(backbone)
    found = {names[id(one)]: group["lr_factor"] for group in groups for one in group["params"]}
    assert found == pytest.approx(expected)


def test_more_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="to be at most 3, the blocks of the backbone, but got 4"):
        FineTuning(train_last=4).prepare(SmallCNN())
