"""The mean classification score: every step against a naive loop, its loss, resume, mixing, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from watching import Build, Watching

from semscale_pl.callbacks.reweighting.score import ScoreReweighting
from semscale_pl.callbacks.step_seed import StepSeed
from semscale_pl.modules.mixing import Mixing
from semscale_pl.weighting import StepInputs, StepTerms, adjusted_logits


class Watched(Watching, ScoreReweighting):
    """Keeps every step."""


def step_by_step(scores: np.ndarray, inputs: StepInputs, momentum: float) -> np.ndarray:
    labels = inputs.labels
    if inputs.mixed_labels is not None and inputs.lam < 0.5:
        labels = inputs.mixed_labels
    logits = inputs.logits.numpy().astype(np.float64)
    found: dict[int, list[float]] = {}
    for row, label in zip(logits, labels.tolist(), strict=True):
        powers = np.exp(row - row.max())
        found.setdefault(label, []).append(float(powers[label] / powers.sum()))
    result = scores.copy()
    for label, values in found.items():
        kept = momentum ** len(values)
        result[label] = kept * scores[label] + (1 - kept) * np.mean(values)
    return result


@pytest.mark.parametrize("mixing", [None, Mixing(mixup_alpha=1.0)], ids=["plain", "mixup"])
def test_every_step_against_a_loop(mixing: Any, digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(momentum=0.8, start_epoch=1, ramp_epochs=1)
    trainer(callback, StepSeed(5), max_epochs=3).fit(classifier(mixing=mixing), datamodule=digits())
    scores, shares = np.full(10, 0.01), []
    for epoch, _, inputs, terms in callback.steps:
        scores = step_by_step(scores, inputs, 0.8)
        shares.append(inputs.lam)
        if epoch == 0:
            assert terms == StepTerms()
            continue
        assert terms.class_weights is None
        assert terms.log_prior is not None
        np.testing.assert_allclose(terms.log_prior, (0.5 if epoch == 1 else 1.0) * np.log(scores), rtol=1e-9)
    report = callback.report()
    np.testing.assert_allclose(report.per_class["score"], scores, rtol=1e-9)
    np.testing.assert_allclose(report.per_class["log_prior"], np.log(scores), rtol=1e-9)
    assert (min(shares) < 0.5) == (mixing is not None)


def test_the_loss_is_the_score_adjusted_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, scores = torch.randn(6, 4, generator=generator), torch.rand(4, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0, 2])
    adjusted = adjusted_logits(logits, StepTerms(log_prior=scores.log()))
    losses = torch.nn.functional.cross_entropy(adjusted, labels, reduction="none").numpy()
    for row, label, loss in zip(logits.numpy(), labels.tolist(), losses, strict=True):
        powers = scores.numpy() * np.exp(row)
        assert loss == pytest.approx(-np.log(powers[label] / powers.sum()), rel=1e-5)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_equals_an_unbroken_run_bitwise(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(ScoreReweighting)
    assert torch.equal(unbroken.scores, resumed.scores)


def test_impossible_probabilities_leave_the_prior_finite() -> None:
    callback = ScoreReweighting(momentum=0.0)
    callback.scores = torch.full((2,), 0.01, dtype=torch.float64)
    logits = torch.tensor([[0.0, 1e6]])
    terms = callback(StepInputs(torch.zeros(1, 1), logits, torch.tensor([0]), torch.tensor([0])))
    assert terms.log_prior is not None
    assert terms.log_prior.isfinite().all()
    before = callback.scores.clone()
    callback(StepInputs(torch.zeros(1, 1), torch.tensor([[torch.inf, 0.0]]), torch.tensor([0]), torch.tensor([0])))
    assert torch.equal(callback.scores, before)


@pytest.mark.parametrize(
    "options", [{"momentum": 1.0}, {"momentum": -0.1}, {"initial_score": 0.0}, {"initial_score": 1.5}], ids=str
)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        ScoreReweighting(**options)
