"""Fused heads against standardised sums written out in numpy float64, and what a weight does at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import semscale_pl as ss
from semscale_pl.heads import Fused, Gaussian, Samples, Trained
from semscale_pl.heads.recipe import logits_of
from semscale_pl.models.classifiers import CosineClassifier, LinearClassifier

COUNTS, WIDTH = (30, 10, 4), 5
SETTINGS = {"shrinkage": 0.4, "k": 2.0, "temperature": 3.0}


def samples(seed: int, counts: tuple[int, ...] = COUNTS) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shift = torch.linspace(0, 2, len(counts), dtype=torch.float64)[labels][:, None]
    return Samples(torch.randn(len(labels), WIDTH, generator=generator, dtype=torch.float64) + shift, labels)


def trained(head: Any = None, counts: tuple[int, ...] = COUNTS, **more: Any) -> Trained:
    torch.manual_seed(3)
    head = LinearClassifier(WIDTH, len(counts)) if head is None else head
    frequencies = torch.tensor(counts, dtype=torch.float64)
    return Trained(head.double(), samples(0, counts), frequencies / frequencies.sum(), **more)


def naive_spread(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the mean over their samples of the variance over classes, and its root."""
    return float(np.sqrt(np.mean([np.mean([np.var(row) for row in scores[labels == c]]) for c in np.unique(labels)])))


def gaussian_scores(given: Trained, rows: Tensor) -> np.ndarray:
    head = ss.GaussianHead(**SETTINGS).fit(*given.train)  # type: ignore[arg-type]
    return head.decision_function(rows)


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_the_fused_head_is_the_sum_of_standardised_scores(weight: float) -> None:
    offsets = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    given, new = trained(offsets=offsets), samples(1).features
    found = Fused(weight, **SETTINGS)(given)
    labels = given.train.labels.numpy()
    total, units = np.zeros((len(new), 3)), 0.0
    for factor, scores in (
        (1.0, lambda rows: logits_of(given.head.affine(), rows).numpy() + offsets.numpy()),  # type: ignore[operator]
        (weight, lambda rows: gaussian_scores(given, rows)),
    ):
        units = naive_spread(scores(given.train.features), labels)
        values = scores(new)
        total += factor * (values - values.mean(axis=1, keepdims=True)) / units
    expected = torch.from_numpy(total * units / (1.0 + weight))  # in units of the Gaussian head, the last of the two
    logits = logits_of(found.affine, new)
    torch.testing.assert_close(logits - logits.mean(1, keepdim=True), expected, rtol=1e-9, atol=1e-9)
    assert found.chosen == {"weight": weight, **SETTINGS}
    gaussian = torch.from_numpy(gaussian_scores(given, new))
    own = logits_of(given.head.affine(), new) + offsets  # type: ignore[operator]
    spreads = (
        ss.score_spread(logits_of(given.head.affine(), given.train.features) + offsets, labels),  # type: ignore[operator]
        ss.score_spread(gaussian_scores(given, given.train.features), labels),
    )
    torch.testing.assert_close(ss.fused_scores(own, gaussian, spreads, weight), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("head", [LinearClassifier(WIDTH, 3), CosineClassifier(WIDTH, 3, scale=16.0)])
def test_a_weight_of_0_is_the_trained_head_and_a_large_one_the_gaussian(head: Any) -> None:
    given = trained(head)
    if isinstance(head, CosineClassifier):
        unit = torch.nn.functional.normalize(given.train.features, dim=1)
        given = given._replace(train=Samples(unit, given.train.labels))
    new = samples(1, (200, 200, 200)).features
    own = logits_of(given.head.affine(), new)  # type: ignore[operator]
    assert torch.equal(logits_of(Fused(0.0)(given).affine, new).argmax(1), own.argmax(1))
    gaussian = logits_of(Gaussian()(given).affine, new)
    fused = logits_of(Fused(1e9)(given).affine, new)
    torch.testing.assert_close(fused.log_softmax(1), gaussian.log_softmax(1), rtol=1e-5, atol=1e-5)
    assert not torch.equal(own.argmax(1), gaussian.argmax(1))


def test_the_gaussian_recipe_is_the_estimator() -> None:
    given, new = trained(), samples(1).features
    found = Gaussian()(given)
    head = ss.GaussianHead().fit(*given.train)
    expected = torch.from_numpy(head.predict_log_proba(new))
    torch.testing.assert_close(logits_of(found.affine, new).log_softmax(1), expected, rtol=1e-9, atol=1e-9)
    assert found.chosen == {name: getattr(head.settings_, name) for name in ("shrinkage", "k", "temperature")}


def test_a_class_without_training_samples_never_wins() -> None:
    given = trained(counts=(20, 0, 8))
    given.head.linear.bias.data[1] = 50.0  # type: ignore[union-attr]
    far = torch.cat([samples(1).features * scale for scale in (-1e4, 1.0, 1e4)])
    for recipe in (Fused(0.0, **SETTINGS), Fused(**SETTINGS), Gaussian(**SETTINGS)):
        logits = logits_of(recipe(given).affine, far)
        assert logits.isfinite().all()
        assert 1 not in logits.argmax(1).tolist()
    scores = ss.fused_scores([[1.0, 9.0, 0.0]], [[0.0, -np.inf, 0.5]], (1.0, 1.0), weight=0.0)
    assert scores.argmax() == 0
    assert not scores.isnan().any()


def test_the_validation_part_judges_and_chooses_the_weight_alone() -> None:
    given = trained(validation=samples(2))
    assert [set(entry) for entry in Gaussian(**SETTINGS)(given).tried] == [{"balanced_accuracy"}]
    found = Fused(None, (4.0, 0.25), **SETTINGS)(given)
    assert [entry["weight"] for entry in found.tried] == [0.25, 4.0]
    best = max(found.tried, key=lambda entry: entry["balanced_accuracy"])
    assert found.chosen == {"weight": best["weight"], **SETTINGS}


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape \(N, C\), but got \(1, 2\) and \(1, 3\)"):
        ss.fused_scores([[1.0, 2.0]], [[1.0, 2.0, 3.0]], (1.0, 1.0))
    with pytest.raises(ValueError, match=r"of the same samples, but got \(1, 2\) and \(2,\)"):
        ss.score_spread([[1.0, 2.0]], [0, 1])
    logits, own = [[1.0, 2.0], [0.0, -np.inf]], [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"Expected `logits` to be finite, .* but got -inf among those of class 1"):
        ss.fused_scores(logits, own, (1.0, 1.0))
    with pytest.raises(ValueError, match=r"Expected `scores` to be finite, .* but got nan among those of class 0"):
        ss.score_spread([[1.0, 2.0], [np.nan, 0.0]], [0, 1])
    with pytest.raises(ValueError, match=r"Expected `spreads` to be two numbers .* but got \(1.0, nan\)"):
        ss.fused_scores(own, own, (1.0, float("nan")))
    with pytest.raises(ValueError, match="Expected `weight` to be a number of at least 0, but got None"):
        ss.fused_scores(own, own, (1.0, 1.0), None)  # type: ignore[arg-type]
