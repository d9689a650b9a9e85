"""The module: what it evaluates with, where a head starts, state of a loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from semscale_pl.losses import (
    LDAM,
    BalancedSoftmax,
    CrossEntropy,
    Equalization,
    LogitAdjusted,
    PerSampleLoss,
    Seesaw,
    SigmoidFocal,
)
from semscale_pl.models.classifiers import CosineClassifier, LinearClassifier
from semscale_pl.modules.classifier import ImbalancedClassifier


class Identity(nn.Module):
    """Features as they come."""

    num_features = 4

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_a_sigmoid_loss_starts_the_heads_bias_where_its_paper_says() -> None:
    module = ImbalancedClassifier(Identity(), LinearClassifier(4, 5), SigmoidFocal(), num_classes=5)
    torch.testing.assert_close(module.classifier.linear.bias, torch.full((5,), -math.log(4.0)))


@pytest.mark.parametrize("bias", [True, False])
def test_the_bias_that_a_sigmoid_loss_set_is_spared_the_weight_decay(bias: bool) -> None:
    module = ImbalancedClassifier(
        nn.Sequential(nn.Linear(4, 4)),
        LinearClassifier(4, 5, bias=bias),
        SigmoidFocal(),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.5),
        num_classes=5,
    )
    before = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = module.configure_optimizers()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert decayed == set(before) - {"classifier.linear.bias"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)


def test_other_losses_keep_one_group_of_parameters() -> None:
    module = ImbalancedClassifier(
        Identity(), LinearClassifier(4, 5), CrossEntropy(), lambda these: torch.optim.SGD(these, lr=1), num_classes=5
    )
    assert len(module.configure_optimizers().param_groups) == 1


class Data:
    """What a module asks of a datamodule; a class-balanced sampler."""

    class_counts, class_names = torch.tensor([90, 9, 1]), ["a", "b", "c"]
    class_frequencies = torch.full((3,), 1 / 3)


class Fitting:
    """What a module asks of a trainer."""

    datamodule, current_epoch = Data(), 0


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (LDAM(), [0.90, 0.09, 0.01]),
        (Equalization(), [0.90, 0.09, 0.01]),
        (BalancedSoftmax(), [1 / 3] * 3),
        (LogitAdjusted(), [1 / 3] * 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_margins_follow_counts_and_priors_the_sampler(
    loss: PerSampleLoss, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImbalancedClassifier, "trainer", Fitting())
    module = ImbalancedClassifier(Identity(), CosineClassifier(4, 3), loss, num_classes=3)
    module.setup("fit")
    assert loss.class_frequencies is not None
    assert loss.class_frequencies.tolist() == pytest.approx(expected)
    loss.setup(torch.tensor([1.0, 0.0, 1.0]))
    module.setup("test")
    assert loss.class_frequencies.tolist() == [0.5, 0.0, 0.5], "a test keeps what the loss was trained with"
    module.on_train_epoch_start()
    assert loss.class_frequencies.tolist() == pytest.approx(expected)


def test_evaluation_sees_the_logits_that_the_loss_means() -> None:
    module = ImbalancedClassifier(Identity(), CosineClassifier(4, 3), LDAM(), num_classes=3, class_counts=[90, 9, 1])
    images, labels = torch.randn(12, 4), torch.arange(12) % 3
    module.test_step((images, labels, labels), 0)
    sharp = module.test_report.compute()["ece"]
    module.test_report.reset()
    module.test_report.update(module(images), labels)
    assert sharp != pytest.approx(module.test_report.compute()["ece"])


def test_a_loss_with_state_sees_each_batch_once() -> None:
    loss = Seesaw()
    module = ImbalancedClassifier(Identity(), LinearClassifier(4, 3), loss, num_classes=3, class_counts=[5, 3, 1])
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    module.on_train_batch_end({"logits": torch.randn(4, 3), "labels": torch.tensor([0, 0, 1, 2])}, None, 0)
    changed = [name for name, value in loss.state_dict().items() if not torch.equal(value, before[name])]
    assert changed


def test_a_checkpoint_holds_a_plain_config() -> None:
    module = ImbalancedClassifier(
        Identity(), LinearClassifier(4, 2), CrossEntropy(), num_classes=2, config={"seed": 1, "names": ["a"]}
    )
    assert dict(module.hparams) == {"config": {"seed": 1, "names": ["a"]}}
