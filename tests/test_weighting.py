"""The reduction of per-sample losses, and how two gloo ranks with uneven batches equal one process."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.weighting import StepInputs, StepTerms, adjusted_logits, mixed_mean, terms_of, weighted_mean


def test_the_plain_mean_is_bitwise_the_mean() -> None:
    losses = torch.randn(17)
    assert torch.equal(weighted_mean(losses, torch.zeros(17, dtype=torch.long), StepTerms()), losses.mean())


def test_weights_are_not_divided_by_their_sum() -> None:
    losses, labels = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 0, 1, 1])
    terms = StepTerms(torch.tensor([10.0, 1.0], dtype=torch.float64), None, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    result = weighted_mean(losses, labels, terms)
    assert result.item() == pytest.approx((10 + 3) / 4)
    assert result.dtype == torch.float32


def test_mixed_labels_weigh_each_label_with_its_own_class() -> None:
    inputs = StepInputs(
        torch.zeros(2, 1), torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([1, 0]), 0.25
    )
    terms = StepTerms(torch.tensor([2.0, 6.0]))
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    expected = (0.25 * (2 * 1 + 6 * 2) + 0.75 * (6 * 3 + 2 * 4)) / 2
    assert mixed_mean(first, second, inputs, terms).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="mixed_labels"):
        mixed_mean(first, second, StepInputs(*[torch.zeros(2)] * 4), terms)


def test_an_empty_slot_and_a_prior() -> None:
    logits = torch.randn(3, 2)
    assert terms_of(None, StepInputs(logits, logits, logits, logits)) == StepTerms()
    assert adjusted_logits(logits, StepTerms()) is logits
    prior = torch.tensor([0.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(adjusted_logits(logits, StepTerms(log_prior=prior)), logits + prior.float())
