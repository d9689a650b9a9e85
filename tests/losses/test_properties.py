"""What has to hold for every loss, whatever its formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semscale_pl.losses import (
    LDAM,
    BalancedSoftmax,
    CrossEntropy,
    Equalization,
    Focal,
    LogitAdjusted,
    PerSampleLoss,
    Seesaw,
    SigmoidFocal,
)
from semscale_pl.weighting import StepTerms, weighted_mean

LOSSES: dict[str, Callable[[], PerSampleLoss]] = {
    "ce": CrossEntropy,
    "smoothed": lambda: CrossEntropy(label_smoothing=0.1),
    "focal": lambda: Focal(gamma=2.0),
    "sigmoid_focal": lambda: SigmoidFocal(gamma=2.0),
    "ldam": lambda: LDAM(scale=5.0),
    "balanced_softmax": BalancedSoftmax,
    "logit_adjusted": lambda: LogitAdjusted(tau=0.5),
    "posthoc": lambda: LogitAdjusted(posthoc=True),
    "seesaw": Seesaw,
    # A certain drop, so that two calls can be compared.
    "equalization": lambda: Equalization(gamma=1.0),
}
NEED_FREQUENCIES = ["ldam", "balanced_softmax", "logit_adjusted", "posthoc", "seesaw", "equalization"]
NUM_CLASSES = 13
every_loss = pytest.mark.parametrize("name", LOSSES)


def batch(rows: int = 17, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, NUM_CLASSES, generator=generator, dtype=torch.float64)
    return logits, torch.randint(NUM_CLASSES, (rows,), generator=generator)


def counts(absent: bool = False) -> Tensor:
    values = 500.0 * 100.0 ** (-torch.arange(NUM_CLASSES, dtype=torch.float64) / (NUM_CLASSES - 1))
    if absent:
        values[4] = 0
    return values.floor()


def build(name: str, frequencies: Tensor) -> PerSampleLoss:
    loss = LOSSES[name]()
    loss.setup(frequencies)
    loss.update(
        torch.zeros(int(frequencies.sum()), NUM_CLASSES),
        torch.arange(NUM_CLASSES).repeat_interleave(frequencies.long()),
    )
    return loss


@every_loss
def test_gives_one_value_a_sample_that_does_not_depend_on_the_batch(name: str) -> None:
    logits, labels = batch()
    loss = build(name, counts())
    together = loss(logits, labels)
    alone = torch.cat([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    assert together.shape == labels.shape
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-13)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(NUM_CLASSES)))
@every_loss
def test_renaming_the_classes_changes_nothing(name: str, order: list[int]) -> None:
    logits, labels = batch()
    permutation = torch.tensor(order)
    renamed = permutation.argsort()[labels]
    before = build(name, counts())(logits, labels)
    after = build(name, counts()[permutation])(logits[:, permutation], renamed)
    torch.testing.assert_close(before, after, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "sigmoid_focal"])
def test_a_shift_of_all_logits_changes_nothing(name: str) -> None:
    logits, labels = batch()
    loss = build(name, counts())
    torch.testing.assert_close(loss(logits, labels), loss(logits + 3.7, labels), rtol=1e-11, atol=1e-12)


@every_loss
def test_counts_and_probabilities_are_the_same(name: str) -> None:
    logits, labels = batch()
    loss = build(name, counts())
    before = loss(logits, labels)
    loss.setup(counts() / counts().sum())
    torch.testing.assert_close(before, loss(logits, labels), rtol=1e-12, atol=1e-13)


@every_loss
def test_a_missing_class_and_extreme_logits_stay_finite(name: str) -> None:
    logits, _ = batch(NUM_CLASSES)
    logits = logits * torch.logspace(-3, 4, NUM_CLASSES, dtype=torch.float64)[:, None]
    logits.requires_grad_()
    labels = torch.arange(NUM_CLASSES)
    losses = build(name, counts(absent=True))(logits, labels)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()


@every_loss
def test_a_certain_prediction_has_a_finite_gradient(name: str) -> None:
    loss = Focal(gamma=0.5) if name == "focal" else build(name, counts())
    logits = torch.zeros(1, NUM_CLASSES)
    logits[0, 2] = 1000.0
    logits.requires_grad_()
    losses = loss(logits, torch.tensor([2]))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.isfinite().all()
    assert losses.isfinite().all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "seesaw"])
def test_gradients_match_finite_differences(name: str) -> None:
    logits, labels = batch(4)
    loss = build(name, counts())
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), (logits.requires_grad_(),))


def test_the_seesaw_factors_are_constants_of_the_gradient() -> None:
    logits, labels = batch(4)
    loss = build("seesaw", counts())
    from semscale_pl.losses.seesaw import seesaw_log_factors

    assert isinstance(loss, Seesaw)
    assert loss.cumulative_counts is not None
    factors = seesaw_log_factors(logits, labels, loss.cumulative_counts)
    probabilities = (logits + factors).softmax(dim=1)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, labels).sum(), logits)
    torch.testing.assert_close(gradient, probabilities - torch.nn.functional.one_hot(labels, NUM_CLASSES))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_loss
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, labels = batch()
    loss = build(name, counts(absent=True))
    found = loss(logits.to(dtype), labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(logits.to(dtype).float(), labels), rtol=0, atol=0)


@every_loss
def test_forward_leaves_the_state_alone(name: str) -> None:
    logits, labels = batch()
    loss = build(name, counts())
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    loss(logits, labels)
    assert before.keys() == loss.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


@every_loss
def test_weights_of_one_are_no_weights(name: str) -> None:
    logits, labels = batch()
    losses = build(name, counts())(logits, labels)
    terms = StepTerms(class_weights=torch.ones(NUM_CLASSES, dtype=torch.float64))
    assert torch.equal(weighted_mean(losses, labels, terms), losses.mean())


@every_loss
def test_a_fresh_loss_takes_its_state_from_a_checkpoint(name: str) -> None:
    logits, labels = batch()
    trained, fresh = build(name, counts()), LOSSES[name]()
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(trained(logits, labels), fresh(logits, labels))


@pytest.mark.parametrize("name", NEED_FREQUENCIES)
def test_says_when_it_was_not_set_up(name: str) -> None:
    with pytest.raises(ValueError, match=r"to know the class frequencies, but got none\. Call `setup"):
        LOSSES[name]()(*batch())


def test_neutral_settings_give_cross_entropy() -> None:
    logits, labels = batch()
    plain = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    neutral = [Focal(gamma=0.0), BalancedSoftmax(tau=0.0), LogitAdjusted(tau=0.0), LDAM(max_margin=0.0, scale=1.0)]
    for loss in [*neutral, Seesaw(p=0.0, q=0.0), Equalization(gamma=0.0), CrossEntropy()]:
        loss.setup(counts())
        torch.testing.assert_close(loss(logits, labels), plain, rtol=1e-13, atol=1e-14)


def test_balanced_counts_give_cross_entropy() -> None:
    logits, labels = batch()
    plain = CrossEntropy()(logits, labels)
    for loss in [BalancedSoftmax(), LogitAdjusted(tau=2.0), Equalization(gamma=1.0), Seesaw(q=0.0)]:
        loss.setup(torch.full((NUM_CLASSES,), 7.0))
        torch.testing.assert_close(loss(logits, labels), plain, rtol=1e-13, atol=1e-13)
