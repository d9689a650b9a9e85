"""Every loss against values computed by hand or by plain numpy loops in float64."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

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
    posthoc_logits,
)
from semscale_pl.losses.equalization import equalization
from semscale_pl.losses.ldam import ldam_margins

Array = NDArray[np.float64]
Loss = TypeVar("Loss", bound=PerSampleLoss)

RNG = np.random.default_rng(0)
LOGITS: Array = RNG.normal(size=(9, 12)) * 2
LABELS = np.array([0, 3, 11, 10, 2, 2, 7, 1, 9])
COUNTS: Array = np.array([500, 329, 216, 142, 94, 61, 40, 26, 17, 11, 7, 5], dtype=np.float64)


def softmax(row: Array) -> Array:
    return np.exp(row) / np.exp(row).sum()


def computed(loss: PerSampleLoss, logits: Array = LOGITS) -> Array:
    values: Array = loss(torch.from_numpy(logits), torch.from_numpy(LABELS)).numpy()
    return values


def set_up(loss: Loss) -> Loss:
    loss.setup(torch.from_numpy(COUNTS))
    return loss


def test_cross_entropy_is_minus_log_softmax() -> None:
    expected = [-math.log(softmax(row)[label]) for row, label in zip(LOGITS, LABELS, strict=True)]
    np.testing.assert_allclose(computed(CrossEntropy()), expected, rtol=1e-12)


def test_label_smoothing_mixes_the_target_with_the_uniform_one() -> None:
    expected = []
    for row, label in zip(LOGITS, LABELS, strict=True):
        target = np.full(12, 0.1 / 12)
        target[label] += 0.9
        expected.append(-(target * np.log(softmax(row))).sum())
    np.testing.assert_allclose(computed(CrossEntropy(label_smoothing=0.1)), expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal(gamma: float) -> None:
    right = [softmax(row)[label] for row, label in zip(LOGITS, LABELS, strict=True)]
    expected = [-((1 - p) ** gamma) * math.log(p) for p in right]
    np.testing.assert_allclose(computed(Focal(gamma)), expected, rtol=1e-11)


def test_focal_of_an_even_choice_of_two() -> None:
    value = Focal(gamma=2.0)(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1]))
    assert value.item() == pytest.approx(0.25 * math.log(2), rel=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sigmoid_focal_agrees_with_torchvision(gamma: float) -> None:
    from torchvision.ops import sigmoid_focal_loss

    one_hot = functional.one_hot(torch.from_numpy(LABELS), 12).double()
    reference = sigmoid_focal_loss(torch.from_numpy(LOGITS), one_hot, alpha=-1, gamma=gamma).sum(dim=1)
    np.testing.assert_allclose(computed(SigmoidFocal(gamma)), reference.numpy(), rtol=1e-11)


def test_sigmoid_focal_starts_every_sigmoid_at_an_even_share() -> None:
    bias = SigmoidFocal().initial_bias(10)
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(0.1, rel=1e-14)
    assert SigmoidFocal().initial_bias(1) == 0.0
    assert CrossEntropy().initial_bias(10) is None


def test_balanced_softmax_multiplies_exponentials_by_counts() -> None:
    expected = []
    for row, label in zip(LOGITS, LABELS, strict=True):
        terms = COUNTS * np.exp(row)
        expected.append(-math.log(terms[label] / terms.sum()))
    np.testing.assert_allclose(computed(set_up(BalancedSoftmax())), expected, rtol=1e-12)


def test_logit_adjustment_takes_an_exponent() -> None:
    expected = []
    for row, label in zip(LOGITS, LABELS, strict=True):
        terms = COUNTS**1.7 * np.exp(row)
        expected.append(-math.log(terms[label] / terms.sum()))
    np.testing.assert_allclose(computed(set_up(LogitAdjusted(tau=1.7))), expected, rtol=1e-12)


def test_posthoc_adjustment_trains_plainly_and_divides_by_the_prior_at_evaluation() -> None:
    loss = set_up(LogitAdjusted(tau=1.0, posthoc=True))
    np.testing.assert_allclose(computed(loss), computed(CrossEntropy()), rtol=1e-15)
    adjusted = loss.evaluation_logits(torch.from_numpy(LOGITS)).softmax(dim=1).numpy()
    for row, found in zip(LOGITS, adjusted, strict=True):
        quotient = softmax(row) / COUNTS
        np.testing.assert_allclose(found, quotient / quotient.sum(), rtol=1e-12)
    same = posthoc_logits(torch.from_numpy(LOGITS), torch.from_numpy(COUNTS), tau=0.0)
    np.testing.assert_array_equal(same.numpy(), LOGITS)


def test_ldam_margins_between_500_and_5_images() -> None:
    margins = ldam_margins(torch.from_numpy(COUNTS)).numpy()
    assert margins[0] == pytest.approx(0.158, abs=5e-4)
    assert margins[-1] == pytest.approx(0.5, rel=1e-14)
    np.testing.assert_allclose(margins, 0.5 * (5 / COUNTS) ** 0.25, rtol=1e-12)


def test_ldam() -> None:
    cosines = np.tanh(LOGITS)
    expected = []
    for row, label in zip(cosines, LABELS, strict=True):
        moved = row.copy()
        moved[label] -= 0.5 * (5 / COUNTS[label]) ** 0.25
        expected.append(-math.log(softmax(30 * moved)[label]))
    loss = set_up(LDAM())
    np.testing.assert_allclose(computed(loss, cosines), expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(loss.evaluation_logits(torch.from_numpy(cosines)).numpy(), 30 * cosines)


def test_seesaw() -> None:
    loss = set_up(Seesaw(p=0.8, q=2.0))
    seen = torch.repeat_interleave(torch.arange(12), torch.from_numpy(COUNTS).long())
    loss.update(torch.zeros(len(seen), 12), seen)
    expected = []
    for row, y in zip(LOGITS, LABELS, strict=True):
        sigma = softmax(row)
        denominator = 0.0
        for j in range(12):
            mitigation = (COUNTS[j] / COUNTS[y]) ** 0.8 if COUNTS[y] > COUNTS[j] else 1.0
            compensation = (sigma[j] / max(sigma[y], 0.01)) ** 2.0 if sigma[j] > max(sigma[y], 0.01) else 1.0
            denominator += (1.0 if j == y else mitigation * compensation) * math.exp(row[j])
        expected.append(-math.log(math.exp(row[y]) / denominator))
    np.testing.assert_allclose(computed(loss), expected, rtol=1e-11)


def test_equalization_drops_only_rare_negatives() -> None:
    loss = set_up(Equalization(gamma=1.0, threshold=0.02))
    rare = COUNTS / COUNTS.sum() < 0.02
    assert 0 < rare.sum() < 12
    expected = []
    for row, label in zip(LOGITS, LABELS, strict=True):
        kept = ~rare
        kept[label] = True
        expected.append(-math.log(math.exp(row[label]) / np.exp(row[kept]).sum()))
    np.testing.assert_allclose(computed(loss), expected, rtol=1e-12)


def test_equalization_draws_at_the_stated_rate_and_from_the_given_generator() -> None:
    loss = set_up(Equalization(gamma=0.75, threshold=0.02))
    frequencies = loss.require_frequencies(torch.from_numpy(LOGITS))
    rare = loss.rare_classes(frequencies)
    first = loss.draw(4000, frequencies, torch.Generator().manual_seed(1))
    assert torch.equal(first, loss.draw(4000, frequencies, torch.Generator().manual_seed(1)))
    assert not first[:, ~rare].any()
    assert first[:, rare].double().mean().item() == pytest.approx(0.75, abs=0.015)


def test_equalization_without_any_negative_is_zero() -> None:
    ignored = torch.ones(9, 12, dtype=torch.bool)
    assert equalization(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), ignored).abs().max() == 0


def test_equalization_is_plain_in_evaluation_mode() -> None:
    loss = set_up(Equalization(gamma=1.0)).eval()
    np.testing.assert_array_equal(computed(loss), computed(CrossEntropy()))


def test_sigmoid_focal_predicts_with_its_sigmoids() -> None:
    probabilities = SigmoidFocal().evaluation_logits(torch.from_numpy(LOGITS)).softmax(dim=1).numpy()
    sigmoids = 1 / (1 + np.exp(-LOGITS))
    np.testing.assert_allclose(probabilities, sigmoids / sigmoids.sum(axis=1, keepdims=True))
    assert (probabilities.argmax(axis=1) == LOGITS.argmax(axis=1)).all()
