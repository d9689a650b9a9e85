"""The embedding model: its groups of parameters, its warm-up, its frozen norms, and weights from the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.losses.metric_learning import NormSoftmax, ProxyAnchor, SoftTriple
from semscale_pl.models.centres import CentreClassifier
from semscale_pl.models.classifiers import CosineClassifier
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.modules.embedding import EmbeddingModel
from semscale_pl.training import building
from semscale_pl.training.run import train
from semscale_pl.weighting import StepInputs, StepTerms

CENTRES = ["embedding=linear", "classifier=centres", "loss=soft_triple", "embedding.dim=8", "classifier.centres=2"]
PROXIES = ["embedding=linear", "classifier=cosine", "loss=norm_softmax", "embedding.dim=8"]
DIGITS = ["dataset=digits_lt", "imbalance_factor=20", "trainer.max_epochs=3"]


class Network(nn.Module):
    """A layer with a batch norm behind it."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.layer(images))


def model(**settings: Any) -> EmbeddingModel:
    torch.manual_seed(0)
    optimizer = settings.pop("optimizer", lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9))
    head, loss = settings.pop("parts", (CentreClassifier(4, 3, 2), SoftTriple()))
    return EmbeddingModel(Network(), head, loss, optimizer, num_classes=3, dim=4, **settings)


def step(module: EmbeddingModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    optimizer.zero_grad()
    output = module.training_step((torch.randn(9, 5), torch.arange(9) % 3, torch.arange(9)), 0)
    output["loss"].backward()
    module.on_before_optimizer_step(optimizer)
    optimizer.step()
    return output


def config(*overrides: str) -> Any:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def test_every_parameter_is_in_one_group_with_the_rate_of_its_part() -> None:
    module = model(centre_lr=3.0, finetuning=FineTuning(backbone_lr=0.01))
    groups = module.configure_optimizers().param_groups
    assert {group["name"]: group["lr"] for group in groups} == {"backbone": 0.01, "embedding": 0.1, "centres": 3.0}
    listed = [id(one) for group in groups for one in group["params"]]
    assert sorted(listed) == sorted(id(one) for one in module.parameters())
    plain = model().configure_optimizers().param_groups
    assert [group["lr"] for group in plain] == [0.1, 0.1, 0.1]


def test_what_is_frozen_is_in_no_group() -> None:
    tuning, network = FineTuning(train_last=0), Network()
    tuning.prepare(network)
    module = EmbeddingModel(
        network, CosineClassifier(4, 3), NormSoftmax(), lambda groups: torch.optim.SGD(groups, lr=1.0),
        num_classes=3, dim=4, finetuning=tuning,
    )  # fmt: skip
    assert [group["name"] for group in module.configure_optimizers().param_groups] == ["embedding", "centres"]
    module.train()
    assert not network.training
    assert module.backbone.embedding.training


def test_the_new_layers_warm_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = model(warmup_epochs=1, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.1, weight_decay=0.1))
    optimizer = module.configure_optimizers()
    monkeypatch.setattr(EmbeddingModel, "log", lambda *_, **__: None)
    before = {name: value.clone() for name, value in module.named_parameters()}

    def moved() -> set[str]:
        return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}

    step(module, optimizer)
    assert moved() == {name for name in before if not name.startswith("backbone.backbone.")}
    monkeypatch.setattr(EmbeddingModel, "current_epoch", 1)
    step(module, optimizer)
    assert moved() == set(before)


def test_frozen_norms_keep_their_statistics_and_train_their_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    module = model(frozen_norms=True).train()
    monkeypatch.setattr(EmbeddingModel, "log", lambda *_, **__: None)
    norm: Any = module.pretrained.norm
    mean, scale = norm.running_mean.clone(), norm.weight.clone()
    step(module, module.configure_optimizers())
    assert torch.equal(norm.running_mean, mean)
    assert not torch.equal(norm.weight, scale)
    plain = model().train()
    plain.backbone(torch.randn(4, 5))
    assert not torch.equal(plain.pretrained.norm.running_mean, mean)  # type: ignore[union-attr, arg-type]


def test_the_slot_sees_the_embeddings_of_this_step_at_unit_length(monkeypatch: pytest.MonkeyPatch) -> None:
    module = model()
    monkeypatch.setattr(EmbeddingModel, "log", lambda *_, **__: None)
    seen: list[StepInputs] = []

    def weighting(inputs: StepInputs) -> StepTerms:
        seen.append(inputs)
        return StepTerms(class_weights=torch.tensor([0.0, 0.0, 2.0]))

    module.weighting = weighting  # type: ignore[assignment]
    images, labels = torch.randn(9, 5), torch.arange(9) % 3
    loss = module.training_step((images, labels, torch.arange(9)), 0)["loss"]
    assert module.num_features == 4
    torch.testing.assert_close(seen[0].features.norm(dim=1), torch.ones(9))
    own = module.loss(seen[0].logits, labels)
    torch.testing.assert_close(loss, 2 * own[labels == 2].sum() / 9 + module.classifier.penalty())


@pytest.mark.parametrize("unfit", ["samples", "mixed"])
def test_a_loss_of_batches_refuses_what_has_no_place_in_it(unfit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = model(parts=(CosineClassifier(4, 3), ProxyAnchor()))
    monkeypatch.setattr(EmbeddingModel, "log", lambda *_, **__: None)
    labels = torch.arange(9) % 3
    inputs = StepInputs(torch.zeros(9, 4), torch.zeros(9, 3), labels, mixed_labels=labels if unfit == "mixed" else None)
    terms = StepTerms(sample_weights=torch.ones(9) if unfit == "samples" else None)
    with pytest.raises(ValueError, match="Expected weights of classes alone for ProxyAnchor"):
        module._reduce(torch.zeros(9, 3), inputs, terms, 9)


def test_cosines_are_not_rounded_under_autocast() -> None:
    for head in (CosineClassifier(16, 5), CentreClassifier(16, 5, 2)):
        rows = torch.randn(4, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = head(head.features(rows))  # type: ignore[operator]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, head(head.features(rows)))  # type: ignore[operator]


def test_builds_from_the_configuration_with_rates_that_follow_the_batch() -> None:
    cfg = config(*CENTRES, "embedding.centre_lr=0.5", "lr_reference_batch=64", "dataset.batch_size=128")
    check_train(cfg)
    module = building.build_module(cfg, 10, backbone=Network())
    assert isinstance(module, EmbeddingModel)
    rates = {group["name"]: group["lr"] for group in module.configure_optimizers()["optimizer"].param_groups}
    assert rates["centres"] == pytest.approx(1.0)
    assert rates["embedding"] == pytest.approx(2 * cfg.optimizer.lr)


@pytest.mark.parametrize("override", ["embedding.dim=0", "embedding.centre_lr=0", "embedding.frozen_norms=1"])
def test_refuses_a_value_in_the_same_words_everywhere(override: str) -> None:
    name, _, value = override.removeprefix("embedding.").partition("=")
    with pytest.raises(WrongCallError, match=f"Expected `embedding.{name}` to be"):
        check_train(config(*CENTRES, override))
    with pytest.raises(ValueError, match=f"Expected `{name}` to be"):
        model(**{name: int(value)}) if name != "dim" else EmbeddingModel(
            Network(), CosineClassifier(4, 3), NormSoftmax(), num_classes=3, dim=0
        )


def run(folder: Path, *overrides: str) -> Any:
    cfg = config(*DIGITS, *overrides)
    check_train(cfg)
    return train(cfg, folder)


@pytest.mark.parametrize("extra", [[], ["trainer.precision=bf16-mixed"]], ids=["float32", "bf16"])
def test_digits_are_told_apart_by_their_embeddings(extra: list[str], tmp_path: Path) -> None:
    quick = ["imbalance_factor=2", "optimizer=adam", "optimizer.lr=0.005"]
    weighted = ["reweighting=semantic_scale", "reweighting.start_epoch=1"]
    result = run(tmp_path / "run", *PROXIES, *quick, *weighted, *extra)
    assert result.last["balanced_accuracy"] > 0.3
    assert all(bool(value.isfinite().all()) for value in result.module.state_dict().values())


def test_a_resumed_training_equals_an_unbroken_one_bitwise(tmp_path: Path) -> None:
    settings = [*CENTRES, "embedding.centre_lr=0.5", "embedding.warmup_epochs=1", "embedding.frozen_norms=true"]
    settings += ["reweighting=semantic_scale", "reweighting.start_epoch=1"]
    whole = run(tmp_path / "whole", *settings)
    run(tmp_path / "part", *settings, "trainer.max_epochs=2", "scheduler.T_max=3")
    last = tmp_path / "part" / "checkpoints" / "last.ckpt"
    resumed = run(tmp_path / "part", *settings, f"ckpt_path={last}")
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    assert isinstance(resumed.trainer, pl.Trainer)
