"""Class centres against naive loops in float64 and pytorch-metric-learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semscale_pl.losses.metric_learning import CosFace, SoftTriple
from semscale_pl.models.centres import CentreClassifier, relaxed_similarity
from semscale_pl.models.classifiers import CosineClassifier, LinearClassifier, unit_length

NUM_CLASSES, CENTRES, DIM = 5, 3, 4
ROWS = torch.randn(7, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0])


def head(centres: int = CENTRES, **settings: float) -> CentreClassifier:
    torch.manual_seed(0)
    return CentreClassifier(DIM, NUM_CLASSES, centres, **settings).double()


def test_similarity_leans_to_the_nearest_centre() -> None:
    module = head(gamma=0.3)
    found = module(module.features(ROWS)).detach().numpy()
    weight, rows = module.weight.detach().numpy(), ROWS.numpy()
    for i, row in enumerate(rows):
        for c in range(NUM_CLASSES):
            s = [float(row @ w / np.linalg.norm(row) / np.linalg.norm(w)) for w in weight[c]]
            shares = [math.exp(value / 0.3) for value in s]
            expected = sum(share * value for share, value in zip(shares, s, strict=True)) / sum(shares)
            assert found[i, c] == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert relaxed_similarity(torch.tensor([0.2, 0.9]), 1e-3).item() == pytest.approx(0.9)
    assert relaxed_similarity(torch.tensor([0.2, 0.9]), 1e6).item() == pytest.approx(0.55, abs=1e-5)


def test_penalty_is_a_loop_over_pairs_of_a_classs_centres() -> None:
    module, total = head(tau=0.7), 0.0
    weight = module.weight.detach().numpy()
    for c in range(NUM_CLASSES):
        for t in range(CENTRES):
            for s in range(t + 1, CENTRES):
                first, second = (weight[c, k] / np.linalg.norm(weight[c, k]) for k in (t, s))
                total += math.sqrt(2 + 1e-5 - 2 * float(first @ second))
    penalty = module.penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.7 * total / (NUM_CLASSES * CENTRES * (CENTRES - 1)), rel=1e-12)
    assert head(centres=1).penalty() is None
    assert head(tau=0.0).penalty() is None


def test_penalty_of_equal_centres_has_a_finite_gradient() -> None:
    module = head().float()
    with torch.no_grad():
        module.weight.copy_(module.weight[:, :1].expand_as(module.weight))
    penalty = module.penalty()
    assert penalty is not None
    penalty.backward()
    assert module.weight.grad is not None
    assert module.weight.grad.isfinite().all()
    assert penalty.item() < 1e-3


def test_loss_and_gradients_are_those_of_pytorch_metric_learning() -> None:
    from pytorch_metric_learning import losses

    reference = losses.SoftTripleLoss(NUM_CLASSES, DIM, centers_per_class=CENTRES, la=20, gamma=0.1, margin=0.01)
    module = head()
    reference.fc.data = module.weight.detach().flatten(0, 1).t().clone()
    theirs, ours = (ROWS.clone().requires_grad_() for _ in range(2))
    expected = reference(theirs, LABELS)
    found = SoftTriple()(module(module.features(ours)), LABELS).mean()
    expected.backward()
    found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)
    assert module.weight.grad is not None
    torch.testing.assert_close(module.weight.grad.flatten(0, 1).t(), reference.fc.grad, rtol=1e-6, atol=1e-9)


def test_one_centre_is_a_cosine_head() -> None:
    one, cosine = head(centres=1), CosineClassifier(DIM, NUM_CLASSES).double()
    with torch.no_grad():
        cosine.weight.copy_(one.weight[:, 0])
    similarities = one(one.features(ROWS))
    torch.testing.assert_close(similarities, cosine(cosine.features(ROWS)))
    torch.testing.assert_close(F.linear(one.features(ROWS), one.affine().weight), similarities)
    torch.testing.assert_close(SoftTriple()(similarities, LABELS), CosFace(20.0, 0.01)(similarities, LABELS))


def test_centres_start_as_in_the_authors_code_and_start_again() -> None:
    module = CentreClassifier(64, 10, 10)
    bound = 0.1
    assert 0.95 * bound < module.weight.abs().max().item() <= bound
    before = module.weight.clone()
    module.reset_parameters()
    assert not torch.equal(before, module.weight)


@pytest.mark.parametrize("kind", [CentreClassifier, CosineClassifier, LinearClassifier])
def test_a_zero_embedding_stays_zero_and_has_a_plain_gradient(kind: type[torch.nn.Module]) -> None:
    module = kind(DIM, NUM_CLASSES, **({"normalize": True} if kind is LinearClassifier else {}))
    rows = torch.zeros(2, DIM, requires_grad=True)
    features = module.features(rows)  # type: ignore[operator]
    assert features.abs().max() == 0
    features.sum().backward()
    assert torch.equal(rows.grad, torch.ones(2, DIM))


def test_unit_length_is_bitwise_that_of_torch_with_its_gradient() -> None:
    weight = torch.randn(7, DIM)
    found = []
    for function in (unit_length, F.normalize):
        rows = ROWS.float().requires_grad_()
        unit = function(rows)
        (gradient,) = torch.autograd.grad((unit * weight).sum(), rows)
        found.append((unit, gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(("name", "value"), [("centres", 0), ("gamma", 0.0), ("tau", -0.1)])
def test_says_what_is_wrong(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}` to be"):
        CentreClassifier(DIM, NUM_CLASSES, **{name: value})  # type: ignore[arg-type]
