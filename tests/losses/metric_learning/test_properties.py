"""What has to hold for every loss of similarities, whatever its formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from semscale_pl.losses.metric_learning import (
    ArcFace,
    Circle,
    CosFace,
    NormSoftmax,
    ProxyAnchor,
    ProxyNCA,
    SimilarityLoss,
    SoftTriple,
)

LOSSES: dict[str, Callable[[], SimilarityLoss]] = {
    "norm_softmax": NormSoftmax,
    "soft_triple": SoftTriple,
    "circle": Circle,
    "proxy_nca": ProxyNCA,
    "proxy_anchor": ProxyAnchor,
    "arcface": ArcFace,
    "cosface": CosFace,
}
NUM_CLASSES = 7
every_loss = pytest.mark.parametrize("name", LOSSES)


def batch(rows: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = 1.8 * torch.rand(rows, NUM_CLASSES, generator=generator, dtype=torch.float64) - 0.9
    return values, torch.randint(NUM_CLASSES, (rows,), generator=generator)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "proxy_anchor"])
def test_a_sample_does_not_feel_its_neighbours(name: str) -> None:
    values, labels = batch()
    loss = LOSSES[name]()
    alone = torch.cat([loss(values[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    torch.testing.assert_close(loss(values, labels), alone, rtol=1e-12, atol=1e-13)


@every_loss
def test_renaming_the_classes_changes_nothing(name: str) -> None:
    values, labels = batch()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    loss = LOSSES[name]()
    renamed = loss(values[:, order], order.argsort()[labels])
    torch.testing.assert_close(loss(values, labels), renamed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "circle"])
def test_gradients_match_finite_differences(name: str) -> None:
    values, labels = batch(4)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name]()(s, labels), (values.requires_grad_(),))


def test_the_factors_of_circle_are_constants_of_the_gradient() -> None:
    values, labels = batch(4)
    values.requires_grad_()
    (gradient,) = torch.autograd.grad(Circle(2.0, 0.25)(values, labels).sum(), values)
    own = torch.nn.functional.one_hot(labels, NUM_CLASSES).bool()
    held = values.detach()
    factor = torch.where(own, (1.25 - held).clamp_min(0), (held + 0.25).clamp_min(0))
    shares = (2 * factor * (held - torch.where(own, 0.75, 0.25))).softmax(dim=1)
    torch.testing.assert_close(gradient, 2 * factor * (shares - own.double()))


@every_loss
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_extreme_similarities_have_finite_losses_and_gradients(name: str, value: float) -> None:
    for own in (-1.0, 0.0, 1.0):
        values = torch.full((3, NUM_CLASSES), value)
        values[:, 2] = own
        values.requires_grad_()
        losses = LOSSES[name]()(values, torch.tensor([2, 2, 2]))
        (gradient,) = torch.autograd.grad(losses.mean(), values)
        assert losses.isfinite().all()
        assert gradient.isfinite().all()


@every_loss
def test_half_precision_is_computed_in_float32(name: str) -> None:
    values, labels = batch()
    found = LOSSES[name]()(values.bfloat16(), labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, LOSSES[name]()(values.bfloat16().float(), labels))


@every_loss
def test_evaluation_keeps_the_order_of_the_similarities(name: str) -> None:
    values, _ = batch()
    scored = LOSSES[name]().evaluation_logits(values)
    assert torch.equal(scored.argsort(dim=1), values.argsort(dim=1))
    assert scored.abs().max() > values.abs().max()


def test_neutral_margins_give_the_same_loss() -> None:
    values, labels = batch()
    plain = NormSoftmax(0.1)(values, labels)
    for loss in (CosFace(10.0, 0.0), SoftTriple(10.0, 0.0), ArcFace(10.0, 0.0), ProxyNCA(5.0, own_in_denominator=True)):
        torch.testing.assert_close(loss(values, labels), plain, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormSoftmax(0.0), "Expected `temperature` to be a number above 0, but got 0.0"),
        (lambda: SoftTriple(margin=-0.1), "Expected `margin` to be a number of at least 0"),
        (lambda: ArcFace(margin=28.6), r"Expected `margin` to be an angle in \[0, pi / 2\), but got 28.6"),
        (lambda: ProxyNCA(own_in_denominator=1), "Expected `own_in_denominator` to be true or false"),  # type: ignore[arg-type]
        (lambda: ProxyNCA()(torch.zeros(2, 1), torch.tensor([0, 0])), "Expected at least 2 classes for Proxy-NCA"),
    ],
)
def test_says_what_is_wrong(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
