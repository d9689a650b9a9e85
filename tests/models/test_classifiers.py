import math

import pytest
import torch
from torch.nn import functional as F

from semscale_pl.models.classifiers import CosineClassifier, LinearClassifier


def test_linear_head_is_the_affine_function_of_what_the_pool_sees() -> None:
    torch.manual_seed(0)
    head, x = LinearClassifier(5, 3), torch.randn(4, 5)
    assert head.features(x) is x
    expected = torch.einsum("cd,bd->bc", head.linear.weight, x) + head.linear.bias
    torch.testing.assert_close(head(head.features(x)), expected)
    assert head.linear.weight.abs().max() <= 1 / math.sqrt(5)


def test_linear_head_without_bias() -> None:
    head = LinearClassifier(5, 3, bias=False)
    assert [name for name, _ in head.named_parameters()] == ["linear.weight"]
    assert torch.equal(head(torch.zeros(2, 5)), torch.zeros(2, 3))


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_cosine_head_gives_scaled_cosines(scale: float) -> None:
    torch.manual_seed(0)
    head, x = CosineClassifier(5, 3, scale=scale), torch.randn(4, 5)
    head.weight.data.mul_(7.0)
    expected = F.cosine_similarity(x[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(head.features(x)), scale * expected)


def test_cosine_head_shows_the_pool_unit_vectors() -> None:
    features = CosineClassifier(5, 3).features(torch.randn(4, 5, dtype=torch.float64) * 100)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_cosine_head_survives_a_zero_row_in_forward_and_backward() -> None:
    head, x = CosineClassifier(5, 3), torch.zeros(2, 5, requires_grad=True)
    logits = head(head.features(x))
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros(2, 3))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_cosine_head_starts_with_unit_vectors_and_repeats_under_a_seed() -> None:
    torch.manual_seed(2)
    first = CosineClassifier(16, 200).weight.detach()
    torch.manual_seed(2)
    assert torch.equal(first, CosineClassifier(16, 200).weight.detach())
    torch.testing.assert_close(first.norm(dim=1), torch.ones(200))
    assert first.mean(dim=0).abs().max() < 0.1  # uniform on the sphere: no preferred direction


@pytest.mark.parametrize("head", [LinearClassifier(4, 3), CosineClassifier(4, 3)])
def test_heads_have_no_penalty_and_train(head: LinearClassifier | CosineClassifier) -> None:
    assert head.penalty() is None
    F.cross_entropy(head(head.features(torch.randn(6, 4))), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("kind", [LinearClassifier, CosineClassifier])
@pytest.mark.parametrize("sizes, name", [((0, 3), "num_features"), ((4, 0), "num_classes")])
def test_sizes_below_one_are_refused(kind: type, sizes: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}` to be an integer of at least 1"):
        kind(*sizes)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_useless_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="Expected `scale` to be a number above 0"):
        CosineClassifier(4, 3, scale=scale)
