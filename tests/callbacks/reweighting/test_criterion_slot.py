"""A re-weighting in a LightningModule that knows nothing of it: what it computes, leaves alone and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import semscale_pl as ss

CLASSES, SIZE = 3, 60
COUNTS = torch.tensor([40, 15, 5])
CASES: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: nn.CrossEntropyLoss(), "mean"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), "mean"),
    (lambda: nn.CrossEntropyLoss(reduction="sum"), "sum"),
    (lambda: nn.CrossEntropyLoss(reduction="none"), "none"),
    (lambda: nn.MultiMarginLoss(), "mean"),
]


class Stock(pl.LightningModule):
    """A module as anybody writes one; what a training step returns is kept."""

    def __init__(self, criterion: nn.Module | None = None, step: str = "usual") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.fc = nn.Linear(6, CLASSES)
        self.criterion = nn.CrossEntropyLoss() if criterion is None else criterion
        self.step, self.seen = step, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        match self.step:
            case "function":
                loss = nn.functional.cross_entropy(self(x), y)
            case "two losses":
                loss = self.criterion(self(x), y) + self.criterion(self.fc(self.body(x)).detach(), y)
            case "two passes":
                loss = self.criterion(0.5 * (self(x) + self(x)), y)
            case "ignored":
                loss = self.criterion(self(x), torch.where(y == 2, -100, y))
            case "evaluation":
                loss = self.eval().criterion(self(x), y)
            case "soft":
                loss = self.criterion(self(x), nn.functional.one_hot(y, CLASSES).float())
            case "elsewhere":
                loss = self.criterion(self.body(x)[:, :CLASSES], y)
            case _:
                loss = self.criterion(self(x), y)
        self.seen.append(loss.detach())
        return loss.mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.criterion(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fixed:
    """A re-weighting with these terms, which keeps what it is handed."""

    def __init__(self, **terms: Tensor) -> None:
        self.terms, self.inputs = ss.StepTerms(**terms), list[ss.StepInputs]()

    def __call__(self, inputs: ss.StepInputs) -> ss.StepTerms:
        self.inputs.append(inputs)
        return self.terms

    def report(self) -> ss.WeightingReport:
        return ss.WeightingReport()


class Filling(pl.Callback):
    """Puts a re-weighting into the slot, as its callbacks do."""

    def __init__(self, weighting: Any) -> None:
        self.weighting = weighting

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.weighting = self.weighting


def data() -> TensorDataset:
    labels = torch.arange(CLASSES).repeat_interleave(COUNTS)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SIZE, 4, generator=generator) + labels[:, None]
    order = torch.randperm(SIZE, generator=generator)
    return TensorDataset(x[order], labels[order])


def fit(module: Stock, *callbacks: pl.Callback, epochs: int = 2) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=list(callbacks),
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loader = DataLoader(data(), batch_size=20)
    trainer.fit(module, loader, loader)
    return trainer


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_weighted_loss_is_that_of_a_loop(case: int) -> None:
    make, reduction = CASES[case]
    weights = torch.tensor([0.5, 1.0, 4.0])
    weighting = Fixed(class_weights=weights)
    module = Stock(make())
    fit(module, ss.CriterionSlot("fc"), Filling(weighting), epochs=1)
    own = make()
    own.reduction = "none"
    for inputs, loss in zip(weighting.inputs, module.seen, strict=True):
        losses = torch.stack([weights[y] * own(z[None], y[None])[0] for z, y in zip(inputs.logits, inputs.labels)])
        expected = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
        torch.testing.assert_close(loss, expected)


def test_features_are_what_enters_the_layer() -> None:
    weighting, module = Fixed(), Stock()
    fit(module, ss.CriterionSlot("fc"), Filling(weighting), epochs=1)
    start = Stock()
    torch.testing.assert_close(weighting.inputs[0].features, start.body(data()[:20][0]).detach())
    assert weighting.inputs[0].labels.tolist() == data()[:20][1].tolist()


def test_a_log_prior_enters_the_logits() -> None:
    prior = torch.tensor([1.0, 0.0, -1.0])
    weighting, module = Fixed(log_prior=prior), Stock()
    fit(module, ss.CriterionSlot("fc"), Filling(weighting), epochs=1)
    found = weighting.inputs[1]
    torch.testing.assert_close(module.seen[1], nn.functional.cross_entropy(found.logits + prior, found.labels))


def test_without_terms_every_parameter_is_that_of_the_plain_module() -> None:
    plain, slotted = Stock(), Stock()
    fit(plain)
    fit(slotted, ss.CriterionSlot("fc"), Filling(Fixed()))
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), slotted.parameters(), strict=True))


def test_semantic_scales_weigh_a_stock_module_as_they_weigh_features_of_their_own() -> None:
    module = Stock()
    reweighting = ss.SemanticScaleReweighting(start_epoch=1, pool="fifo", capacity=SIZE)
    fit(module, ss.CriterionSlot("fc"), reweighting)
    assert reweighting.pool is not None
    features, labels = reweighting.pool.contents()[:2]
    assert labels.bincount().tolist() == COUNTS.tolist()
    scales = ss.semantic_scales(features, labels, CLASSES)
    distances = ss.interclass_weights(ss.class_centres(features, labels, CLASSES))
    expected = ss.scales_to_weights(ss.semantic_scale_imbalance(scales, distances), COUNTS)
    torch.testing.assert_close(reweighting.weights, expected, rtol=1e-5, atol=1e-6)
    assert float(expected.max() / expected.min()) > 1.1


def test_the_module_is_left_as_it_was() -> None:
    module = Stock()
    fit(module, ss.CriterionSlot("fc"), Filling(Fixed()))
    assert not hasattr(module, "weighting")
    assert not hasattr(module, "num_classes")
    assert not module.fc._forward_pre_hooks
    assert not module.criterion._forward_hooks


@pytest.mark.parametrize(
    ("slot", "module", "message"),
    [
        (lambda: ss.CriterionSlot("head"), lambda: Stock(), "a part of Stock, but it has no 'head'"),
        (lambda: ss.CriterionSlot("fc", "loss"), lambda: Stock(), "Expected 'loss' in Stock, but found criterion"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(nn.Identity()), "but found none with a `reduction`"),
        (
            lambda: ss.CriterionSlot("fc"),
            lambda: Stock(nn.CrossEntropyLoss(weight=torch.ones(CLASSES))),
            "would be weighted twice",
        ),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="function"), "to call its loss module, but it did not"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="two losses"), "it is called again"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="two passes"), "Expected one call of `layer` 'fc'"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="soft"), "Mixed or soft labels"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="ignored"), "labels of at least 0 .* but got -100"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="evaluation"), "to be in training mode"),
        (lambda: ss.CriterionSlot("fc", "criterion"), lambda: Stock(nn.Identity()), "but it has none: without it"),
        (lambda: ss.CriterionSlot("fc"), lambda: Stock(step="elsewhere"), "but got none. Name the layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_weighted_is_refused(slot: Any, module: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message.replace("(", r"\(")):
        fit(module(), slot(), Filling(Fixed()))


def test_a_shared_layer_goes_by_each_of_its_names() -> None:
    module, weighting = Stock(), Fixed()
    module.head, module.loss = module.fc, module.criterion
    fit(module, ss.CriterionSlot("head", "loss"), Filling(weighting), epochs=1)
    assert len(weighting.inputs) == 3
    fit(module, ss.CriterionSlot("head"), Filling(weighting), epochs=1)
    assert len(weighting.inputs) == 6, "one loss module under two names is one"


def test_code_that_was_compiled_before_is_named_as_what_passes_hooks_by() -> None:
    module = Stock()
    module.body = nn.Sequential(module.body, module.fc)
    compiled = torch.compile(module.body, backend="eager")
    compiled(torch.zeros(20, 4))
    module.compiled = compiled
    module.forward = lambda x: compiled(x)  # type: ignore[method-assign]
    with pytest.raises(MisconfigurationException, match=r"passes hooks by: call torch.compiler.reset\(\) before fit"):
        fit(module, ss.CriterionSlot("fc"), Filling(Fixed()))
    torch.compiler.reset()
    weighting = Fixed(class_weights=torch.tensor([0.5, 1.0, 4.0]))
    fit(module, ss.CriterionSlot("fc"), Filling(weighting), epochs=1)
    assert len(weighting.inputs) == 3


def test_spatial_features_are_refused() -> None:
    module = Stock()
    module.fc = nn.Sequential(nn.Unflatten(1, (6, 1)), nn.Flatten(), nn.Linear(6, CLASSES))
    with pytest.raises(MisconfigurationException, match=r"Expected features \(B, D\) to enter `layer` 'fc.1'"):
        fit(module, ss.CriterionSlot("fc.1"), Filling(Fixed()))


def test_a_reweighting_alone_says_how_a_stock_module_takes_it() -> None:
    with pytest.raises(MisconfigurationException, match="Put CriterionSlot"):
        fit(Stock(), ss.SemanticScaleReweighting(pool="fifo", capacity=SIZE, num_classes=CLASSES))
