"""Second stages against their definitions, written out in numpy float64, and against scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn

import semscale_pl as ss
from semscale_pl.geometry import pool_features
from semscale_pl.heads import (
    LearnableWeightScaling,
    LogitAdjustment,
    NearestMean,
    Retraining,
    Samples,
    TauNormalization,
    Trained,
)
from semscale_pl.heads.fitting import epoch_order
from semscale_pl.heads.recipe import balanced_accuracy, choose, class_weights, logits_of
from semscale_pl.models.classifiers import Affine, CosineClassifier, LinearClassifier
from semscale_pl.seeding import derive_seed

COUNTS, WIDTH = (40, 12, 4), 5
SGD = {"batch_size": 16, "momentum": 0.9, "weight_decay": 5e-4}


def samples(seed: int, counts: tuple[int, ...] = COUNTS) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    shift = torch.linspace(0, 2, len(counts), dtype=torch.float64)[labels][:, None]
    return Samples(torch.randn(len(labels), WIDTH, generator=generator, dtype=torch.float64) + shift, labels)


def trained(head: nn.Module | None = None, **more: Any) -> Trained:
    torch.manual_seed(3)
    head = LinearClassifier(WIDTH, 3) if head is None else head
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    return Trained(head.double(), samples(0), counts / counts.sum(), **{"seed": 5, **more})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class NaiveSGD:
    """SGD with momentum and weight decay, as torch defines it: v = m v + g + d p; p = p - lr v."""

    def __init__(self) -> None:
        self.velocity: dict[int, np.ndarray] = {}

    def step(self, place: int, value: np.ndarray, gradient: np.ndarray, lr: float) -> np.ndarray:
        gradient = gradient + 5e-4 * value
        before = self.velocity.get(place)
        self.velocity[place] = gradient if before is None else 0.9 * before + gradient
        return value - lr * self.velocity[place]


def orders(labels: Tensor, epochs: int, lr: float, balanced: bool) -> Any:
    """Yield the rows of each batch with the learning rate of its epoch."""
    for epoch in range(epochs):
        rate = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = epoch_order(labels, derive_seed(5, 1), epoch, balanced).numpy()
        for start in range(0, len(order), 16):
            yield order[start : start + 16], rate


@pytest.mark.parametrize("weights", ["none", "inverse_frequency", "balanced_softmax"])
def test_crt_trains_a_new_classifier_by_sgd(weights: str) -> None:
    given = trained()
    before = [value.clone() for value in given.head.state_dict().values()]
    found = Retraining(lr=0.1, epochs=3, weights=weights, **SGD)(given)
    assert all(torch.equal(old, new) for old, new in zip(before, given.head.state_dict().values(), strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(5, 0))
        new = nn.Linear(WIDTH, 3, dtype=torch.float64)
    weight, bias = new.weight.detach().numpy(), new.bias.detach().numpy()
    features, labels = (part.numpy() for part in given.train)
    counts = np.array(COUNTS)
    factors = (1 / counts) * counts.sum() / 3 if weights == "inverse_frequency" else np.ones(3)
    prior = np.log(counts / counts.sum()) if weights == "balanced_softmax" else np.zeros(3)
    sgd = NaiveSGD()
    for rows, rate in orders(given.train.labels, 3, 0.1, weights == "none"):
        error = softmax(features[rows] @ weight.T + bias + prior) - np.eye(3)[labels[rows]]
        error = error * factors[labels[rows]][:, None] / len(rows)
        weight, bias = sgd.step(0, weight, error.T @ features[rows], rate), sgd.step(1, bias, error.sum(0), rate)
    np.testing.assert_allclose(found.affine.weight.numpy(), weight, rtol=1e-10)
    assert found.affine.bias is not None
    np.testing.assert_allclose(found.affine.bias.numpy(), bias, rtol=1e-10)
    assert (found.chosen, found.tried) == ({"lr": 0.1, "epochs": 3}, [])


def test_lws_learns_one_scale_a_class_that_multiplies_the_bias_too() -> None:
    given = trained()
    found = LearnableWeightScaling(lr=0.1, epochs=4, **SGD)(given)
    weight, bias, _ = (part.numpy() if isinstance(part, Tensor) else part for part in given.head.affine())  # type: ignore[operator]
    features, labels = (part.numpy() for part in given.train)
    scales, sgd = np.ones(3), NaiveSGD()
    for rows, rate in orders(given.train.labels, 4, 0.1, balanced=True):
        logits = features[rows] @ weight.T + bias
        error = (softmax(scales * logits) - np.eye(3)[labels[rows]]) / len(rows)
        scales = sgd.step(0, scales, (error * logits).sum(0), rate)
    assert np.ptp(scales) > 0.01
    np.testing.assert_allclose(found.affine.weight.numpy(), scales[:, None] * weight, rtol=1e-10)
    assert found.affine.bias is not None
    np.testing.assert_allclose(found.affine.bias.numpy(), scales * bias, rtol=1e-10)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_tau_normalization_divides_by_a_power_of_the_length_and_drops_the_bias(tau: float) -> None:
    given = trained()
    found = TauNormalization(tau=tau)(given).affine
    weight = given.head.affine().weight.numpy()  # type: ignore[operator]
    expected = [[w / math.sqrt(sum(v * v for v in row)) ** tau for w in row] for row in weight]
    np.testing.assert_allclose(found.weight.numpy(), expected, rtol=1e-12)
    assert found.bias is None


def test_a_class_vector_without_length_stays_finite() -> None:
    head = LinearClassifier(WIDTH, 3)
    nn.init.zeros_(head.linear.weight)
    assert TauNormalization(tau=2.0)(trained(head)).affine.weight.isfinite().all()


def test_nearest_mean_agrees_with_scikit_learn_and_with_a_loop() -> None:
    given, new = trained(), samples(1)
    features, labels = (part.numpy() for part in given.train)
    euclidean = logits_of(NearestMean("euclidean")(given).affine, new.features).argmax(1).numpy()
    assert (euclidean == NearestCentroid().fit(features, labels).predict(new.features.numpy())).all()
    means = []
    for label in range(3):
        rows = [row / np.linalg.norm(row) for row in features[labels == label]]
        means.append(sum(rows) / len(rows))
    cosines = [[x @ m / np.linalg.norm(x) / np.linalg.norm(m) for m in means] for x in new.features.numpy()]
    found = logits_of(NearestMean("cosine")(given).affine, new.features)
    np.testing.assert_allclose(found.numpy(), cosines, rtol=1e-10)


def test_a_class_without_training_samples_is_never_the_nearest() -> None:
    given = trained()
    gone = Samples(*(part[given.train.labels != 2] for part in given.train))
    for metric in ("euclidean", "cosine"):
        head = NearestMean(metric)(given._replace(train=gone)).affine
        assert set(logits_of(head, samples(1).features * 10).argmax(1).tolist()) <= {0, 1}


def test_logit_adjustment_takes_tau_log_q_off() -> None:
    given = trained()
    found = logits_of(LogitAdjustment(tau=1.5)(given).affine, given.train.features).numpy()
    before = logits_of(given.head.affine(), given.train.features).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(found, before - 1.5 * np.log(np.array(COUNTS) / sum(COUNTS)), rtol=1e-12)


def test_logit_adjustment_by_the_semantic_scale_takes_log_s_off_up_to_a_constant() -> None:
    given = trained()
    found = logits_of(LogitAdjustment(tau=2.0, prior="semantic_scale")(given).affine, given.train.features)
    before = logits_of(given.head.affine(), given.train.features)  # type: ignore[operator]
    scales = ss.class_geometry(given.train.features, given.train.labels, 3).imbalance
    expected = -2.0 * (scales / scales.max()).clamp_min(0.05).log()
    difference = (found - before) - expected
    torch.testing.assert_close(difference, difference[:1, :1].expand_as(difference))


def test_weights_by_the_semantic_scale_are_the_projects_own() -> None:
    given = trained()
    scales = ss.class_geometry(pool_features(given.train.features, 64), given.train.labels, 3).imbalance
    assert torch.equal(class_weights("semantic_scale", given), ss.scales_to_weights(scales, torch.tensor(COUNTS)))


def test_cosine_heads_stay_cosine_heads() -> None:
    unit = samples(0)._replace(features=nn.functional.normalize(samples(0).features, dim=1))
    given = trained(CosineClassifier(WIDTH, 3, scale=16.0))._replace(train=unit)
    for recipe in (Retraining(lr=0.1, epochs=2), LearnableWeightScaling(lr=0.1, epochs=2), LogitAdjustment()):
        assert recipe(given).affine.normalize
    torch.testing.assert_close(
        Retraining(lr=0.1, epochs=2)(given).affine.weight.norm(dim=1), torch.full((3,), 16.0, dtype=torch.float64)
    )


def test_an_epoch_shows_all_classes_alike_or_every_sample_once() -> None:
    labels = torch.tensor([3, 0, 0, 0, 0, 0, 0, 2, 2]).repeat(1000)
    drawn = labels[epoch_order(labels, 7, 0, balanced=True)]
    share = torch.bincount(drawn, minlength=4) / len(labels)
    torch.testing.assert_close(share, torch.tensor([1 / 3, 0, 1 / 3, 1 / 3]), atol=0.02, rtol=0)
    rows = epoch_order(labels, 7, 0, balanced=True)[labels[epoch_order(labels, 7, 0, balanced=True)] == 0]
    assert len(rows.unique()) > 2000  # of the 6,000 of that class, not one again and again
    assert epoch_order(labels, 7, 1, balanced=False).sort().values.tolist() == list(range(len(labels)))
    assert not torch.equal(epoch_order(labels, 7, 0, balanced=True), epoch_order(labels, 7, 1, balanced=True))
    assert not torch.equal(epoch_order(labels, 7, 0, balanced=True), epoch_order(labels, 8, 0, balanced=True))


def test_settings_are_chosen_by_balanced_accuracy_and_of_equal_ones_the_smaller() -> None:
    validation = samples(2, (9, 3, 1))
    given = trained(validation=validation)

    def make(tau: float, step: int) -> Affine:
        return Affine(torch.eye(3, WIDTH, dtype=torch.float64) * (1 if tau < 0.5 else -1), None, False)

    found = choose(given, make, {"tau": [0.1, 0.2, 0.9], "step": [1, 2]}, {"step": None}, {})
    scores = [entry["balanced_accuracy"] for entry in found.tried]
    best = max(scores)
    assert [(entry["tau"], entry["step"]) for entry in found.tried][scores.index(best)] == tuple(found.chosen.values())
    assert found.chosen in ({"tau": 0.1, "step": 1}, {"tau": 0.9, "step": 1})
    predicted = logits_of(found.affine, validation.features).argmax(1)
    assert best == pytest.approx(balanced_accuracy_score(validation.labels, predicted))
    assert balanced_accuracy(found.affine, validation) == best


@pytest.mark.parametrize(
    ("recipe", "default"),
    [
        (TauNormalization(), {"tau": 1.0}),
        (LogitAdjustment(), {"tau": 1.0}),
        (NearestMean(), {"metric": "cosine"}),
        (Retraining(), {"lr": 0.05, "epochs": 10}),
        (LearnableWeightScaling(), {"lr": 0.05, "epochs": 5}),
        (LearnableWeightScaling(epochs=1), {"lr": 0.05, "epochs": 1}),
    ],
)
def test_without_a_validation_part_the_defaults_stand(recipe: Any, default: dict[str, Any]) -> None:
    assert recipe(trained()).chosen == default


def test_a_given_setting_is_not_searched() -> None:
    found = Retraining(lr=0.2, epochs_grid=[2, 1])(trained(validation=samples(2)))
    assert [(entry["lr"], entry["epochs"]) for entry in found.tried] == [(0.2, 1), (0.2, 2)]
    assert len(TauNormalization()(trained(validation=samples(2))).tried) == 21


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    given = trained()
    torch.set_rng_state(before)
    first, second = (Retraining(epochs=1)(given).affine.weight for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, Retraining(epochs=1)(given._replace(seed=6)).affine.weight)
