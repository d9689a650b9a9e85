import math

import pytest
import torch
from torch.nn import functional as F

from semscale_pl.models.class_means import ClassMeans, NearestClassMean
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


def test_a_learned_scale_starts_at_its_value_stays_positive_and_has_a_gradient() -> None:
    head = CosineClassifier(5, 3, scale=16.0, learn_scale=True)
    x, labels = torch.randn(8, 5), torch.arange(8) % 3
    fixed = CosineClassifier(5, 3, scale=16.0)
    fixed.weight.data.copy_(head.weight.data)
    torch.testing.assert_close(head(head.features(x)), fixed(fixed.features(x)))
    F.cross_entropy(head(head.features(x)), labels).backward()
    assert head.log_factor is not None
    assert head.log_factor.grad is not None
    assert head.log_factor.grad != 0
    head.log_factor.data.fill_(-9.0)
    assert bool(head.factor > 0)


@pytest.mark.parametrize(
    "head",
    [
        LinearClassifier(5, 3),
        LinearClassifier(5, 3, bias=False, normalize=True),
        CosineClassifier(5, 3, scale=7.0, learn_scale=True),
        NearestClassMean(5, 3, metric="euclidean"),
        NearestClassMean(5, 3, metric="cosine"),
    ],
)
def test_a_head_equals_its_affine_form(head: LinearClassifier | CosineClassifier | NearestClassMean) -> None:
    if isinstance(head, NearestClassMean):
        head.set_means(ClassMeans.of(torch.randn(9, 5), torch.arange(9) % 3, 3))
    x, again = torch.randn(6, 5), LinearClassifier.of(head.affine())
    torch.testing.assert_close(again(again.features(x)), head(head.features(x)))


def means_and_nearest(unit: bool) -> tuple[ClassMeans, torch.Tensor, torch.Tensor]:
    """Return class means, new rows, and the nearest mean of each by a loop over distances or cosines."""
    torch.manual_seed(1)
    labels = torch.arange(60) % 3
    x = (
        torch.randn(60, 5, dtype=torch.float64)
        + 3 * torch.eye(3, 5)[labels] * torch.tensor([[1.0], [2.0], [4.0]])[labels]
    )
    x = F.normalize(x, dim=1) if unit else x
    means = torch.stack([x[labels == label].mean(0) for label in range(3)])
    new = torch.randn(50, 5, dtype=torch.float64) * 3
    scores = [[F.cosine_similarity(row, m, dim=0) if unit else -(row - m).square().sum() for m in means] for row in new]
    return ClassMeans.of(x, labels, 3), new, torch.tensor(scores).argmax(dim=1)


def test_heads_that_start_from_class_means_classify_like_them() -> None:
    means, new, nearest = means_and_nearest(unit=False)
    for head in (LinearClassifier(5, 3, init="class_means").double(), NearestClassMean(5, 3, "euclidean").double()):
        head.set_means(means) if isinstance(head, NearestClassMean) else head.start_from_means(means)
        logits = head(head.features(new))
        assert torch.equal(logits.argmax(dim=1), nearest)
    means, new, nearest = means_and_nearest(unit=True)
    for cosine in (CosineClassifier(5, 3, init="class_means").double(), NearestClassMean(5, 3, "cosine").double()):
        cosine.set_means(means) if isinstance(cosine, NearestClassMean) else cosine.start_from_means(means)
        assert torch.equal(cosine(cosine.features(new)).argmax(dim=1), nearest)


def test_logits_of_a_nearest_mean_are_distances_in_units_of_the_spread() -> None:
    means, new, _ = means_and_nearest(unit=False)
    head = NearestClassMean(5, 3, "euclidean", scale=2.0).double()
    head.set_means(means)
    distances = torch.cdist(new, means.centres).square()
    torch.testing.assert_close(head(new).softmax(1), (-distances / means.spread).softmax(1))


def test_vectors_from_outside_give_directions_alone() -> None:
    vectors = torch.randn(3, 5) * 9
    for head in (LinearClassifier(5, 3, init="text"), CosineClassifier(5, 3, init="text")):
        head.start_from_vectors(vectors)
        weight, bias, _ = head.affine()
        torch.testing.assert_close(weight, F.normalize(vectors, dim=1))
        assert bias is None or not bias.any()
