"""Losses of similarities against naive loops in float64, closed forms and pytorch-metric-learning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semscale_pl.losses import PerSampleLoss
from semscale_pl.losses.metric_learning import ArcFace, Circle, CosFace, NormSoftmax, ProxyAnchor, ProxyNCA, SoftTriple

Array = NDArray[np.float64]
NUM_CLASSES, DIM = 12, 6
RNG = np.random.default_rng(0)
EMBEDDINGS: Array = RNG.normal(size=(9, DIM))
PROXIES: Array = RNG.normal(size=(NUM_CLASSES, DIM))
LABELS = np.array([0, 3, 11, 10, 2, 2, 7, 1, 9])


def cosines(rows: Array, others: Array) -> Array:
    found = [[float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b)) for b in others] for a in rows]
    return np.array(found)


COSINES = cosines(EMBEDDINGS, PROXIES)


def computed(loss: PerSampleLoss, similarities: Array = COSINES) -> Array:
    values: Array = loss(torch.from_numpy(similarities), torch.from_numpy(LABELS)).numpy()
    return values


def softmax_losses(logits: Callable[[Array, int], list[float]]) -> list[float]:
    found = []
    for row, label in zip(COSINES, LABELS, strict=True):
        terms = [math.exp(value) for value in logits(row, int(label))]
        found.append(-math.log(terms[label] / sum(terms)))
    return found


def test_norm_softmax() -> None:
    np.testing.assert_allclose(computed(NormSoftmax(0.05)), softmax_losses(lambda row, _: list(row / 0.05)), rtol=1e-12)


@pytest.mark.parametrize(("kind", "scale", "margin"), [(CosFace, 64.0, 0.35), (SoftTriple, 20.0, 0.01)])
def test_a_margin_of_the_similarity(kind: type[CosFace], scale: float, margin: float) -> None:
    expected = softmax_losses(lambda row, y: [scale * (s - margin * (j == y)) for j, s in enumerate(row)])
    np.testing.assert_allclose(computed(kind()), expected, rtol=1e-11)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_arcface_turns_the_own_angle(margin: float) -> None:
    def turned(s: float) -> float:
        angle = math.acos(s)
        return math.cos(angle + margin) if angle + margin <= math.pi else s - margin * math.sin(margin)

    similarities = COSINES.copy()
    similarities[np.arange(4), LABELS[:4]] = [-0.99, -0.5, 0.999, -0.3]
    expected = []
    for row, label in zip(similarities, LABELS, strict=True):
        logits = [16 * (turned(s) if j == label else s) for j, s in enumerate(row)]
        expected.append(math.log(sum(math.exp(value - logits[label]) for value in logits)))
    np.testing.assert_allclose(computed(ArcFace(16.0, margin), similarities), expected, rtol=1e-9, atol=1e-12)


def test_circle() -> None:
    m, gamma, expected = 0.25, 32.0, []
    for row, y in zip(COSINES, LABELS, strict=True):
        own = max(1 + m - row[y], 0.0) * (row[y] - (1 - m))
        total = 0.0
        for j, s in enumerate(row):
            total += math.exp(gamma * (max(s + m, 0.0) * (s - m) - own)) if j != y else 0.0
        expected.append(math.log1p(total))
    np.testing.assert_allclose(computed(Circle(gamma, m)), expected, rtol=1e-11)


@pytest.mark.parametrize("own", [False, True])
def test_proxy_nca_from_the_distances_themselves(own: bool) -> None:
    expected = []
    for row, y in zip(EMBEDDINGS, LABELS, strict=True):
        unit = row / np.linalg.norm(row)
        distances = [float(((unit - p / np.linalg.norm(p)) ** 2).sum()) for p in PROXIES]
        total = sum(math.exp(-1.5 * d) for j, d in enumerate(distances) if own or j != y)
        expected.append(-math.log(math.exp(-1.5 * distances[y]) / total))
    np.testing.assert_allclose(computed(ProxyNCA(1.5, own_in_denominator=own)), expected, rtol=1e-11)


def naive_proxy_anchor(weights: Array, alpha: float = 32.0, delta: float = 0.1) -> float:
    gathering, repelling = 0.0, 0.0
    for c in range(NUM_CLASSES):
        own = sum(math.exp(-alpha * (s - delta)) for s, y in zip(COSINES[:, c], LABELS, strict=True) if y == c)
        others = sum(math.exp(alpha * (s + delta)) for s, y in zip(COSINES[:, c], LABELS, strict=True) if y != c)
        gathering += weights[c] * math.log1p(own)
        repelling += weights[c] * math.log1p(others)
    return gathering / len(set(LABELS.tolist())) + repelling / NUM_CLASSES


@pytest.mark.parametrize("weighted", [False, True])
def test_proxy_anchor_weighs_a_class_in_both_of_its_terms(weighted: bool) -> None:
    weights = np.arange(1.0, NUM_CLASSES + 1) if weighted else np.ones(NUM_CLASSES)
    values, labels = torch.from_numpy(COSINES), torch.from_numpy(LABELS)
    found = ProxyAnchor().batch_loss(values, labels, torch.from_numpy(weights) if weighted else None)
    assert found.item() == pytest.approx(naive_proxy_anchor(weights), rel=1e-12)
    if not weighted:
        assert ProxyAnchor()(values, labels).mean().item() == pytest.approx(found.item(), rel=1e-14)


def test_proxies_in_the_place_of_samples_have_a_closed_form() -> None:
    """Orthogonal proxies with each class's sample on its own: cosines of 1 and 0."""
    values, labels, c = torch.eye(5, dtype=torch.float64), torch.arange(5), 5
    log_others = math.log(c - 1)
    closed = {
        NormSoftmax(0.5): math.log1p((c - 1) * math.exp(-2)),
        CosFace(3.0, 0.5): math.log1p((c - 1) * math.exp(-1.5)),
        Circle(2.0, 0.25): math.log1p((c - 1) * math.exp(2 * (0.25 * -0.25 - 0.25 * 0.25))),
        ProxyNCA(): log_others - 2.0,
        ProxyAnchor(2.0, 0.25): math.log1p(math.exp(-1.5)) + math.log1p((c - 1) * math.exp(0.5)),
    }
    for loss, expected in closed.items():
        assert loss(values, labels).tolist() == pytest.approx([expected] * c, rel=1e-12), type(loss).__name__


def test_a_margin_of_pi_third_from_the_own_centre_is_a_cosine_of_a_half() -> None:
    value = ArcFace(1.0, math.pi / 3)(torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(2), rel=1e-12)


OURS: dict[str, PerSampleLoss] = {
    "NormalizedSoftmaxLoss": NormSoftmax(0.05),
    "CosFaceLoss": CosFace(),
    "ArcFaceLoss": ArcFace(64.0, math.radians(28.6)),
    "ProxyNCALoss": ProxyNCA(own_in_denominator=True),
    "ProxyAnchorLoss": ProxyAnchor(),
}


def theirs(name: str, proxies: Tensor) -> Any:
    from pytorch_metric_learning import losses

    loss = getattr(losses, name)(num_classes=NUM_CLASSES, embedding_size=DIM)
    with torch.no_grad():
        if hasattr(loss, "proxies"):
            loss.proxies.data = proxies.clone()
        else:
            loss.W.data = proxies.t().clone()
    return loss


@pytest.mark.parametrize("name", OURS)
def test_value_and_gradient_are_those_of_pytorch_metric_learning(name: str) -> None:
    labels, proxies = torch.from_numpy(LABELS), torch.from_numpy(PROXIES)
    found = []
    for library in (False, True):
        rows = torch.from_numpy(EMBEDDINGS).clone().requires_grad_()
        if library:
            value = theirs(name, proxies)(rows, labels)
        else:
            value = OURS[name](F.normalize(rows) @ F.normalize(proxies).t(), labels).mean()
        value.backward()
        found.append((value.detach(), rows.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=1e-9)


def test_circle_is_that_of_pytorch_metric_learning_with_centres_as_references() -> None:
    from pytorch_metric_learning import losses

    rows, proxies, labels = torch.from_numpy(EMBEDDINGS), torch.from_numpy(PROXIES), torch.from_numpy(LABELS)
    expected = losses.CircleLoss()(rows, labels, ref_emb=proxies, ref_labels=torch.arange(NUM_CLASSES))
    assert computed(Circle()).mean() == pytest.approx(expected.item(), rel=1e-6)
