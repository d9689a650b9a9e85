"""Scales, centres and weights of classes, against one class at a time, loops, scikit-learn's OAS and by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import by_oas, by_singular_values, by_slogdet, gaussian
from torch import Tensor

from semscale_pl.geometry import (
    ClassGeometry,
    centre_distances,
    class_centres,
    class_geometry,
    interclass_weights,
    scales_from_moments,
    semantic_scale,
    semantic_scale_imbalance,
    semantic_scales,
    volume,
)

SETTINGS = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("shape", [(500, 16), (16, 100)])
def test_a_large_offset_costs_no_digits(shape: tuple[int, int]) -> None:
    features = (gaussian(*shape, dtype=torch.float32) + 1e4).float()
    centred = features.double() - 1e4  # exact: what is left of the features after rounding to float32
    assert float(semantic_scale(features)) == pytest.approx(by_slogdet(centred), rel=1e-10)
    labels = torch.arange(shape[0]) % 3
    scales = semantic_scales(features, labels, 3)
    assert scales.tolist() == pytest.approx([by_slogdet(centred[labels == c]) for c in range(3)], rel=1e-10)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_identical_points_have_exactly_0_bits(rows: int, dtype: torch.dtype) -> None:
    features = (gaussian(1, 30) * 100 + 0.1).to(dtype).expand(rows, 30)
    for estimator in ("plain", "shrunk"):
        assert float(volume(features, estimator=estimator)) == 0.0
        assert semantic_scales(features, torch.zeros(rows).long(), 1, estimator=estimator).tolist() == [0.0]


@pytest.mark.parametrize("shape", [(9, 40), (40, 9), (40, 1), (1, 4), (2, 50), (400, 3)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_shrunk_estimator_is_oas(shape: tuple[int, int], scale: float) -> None:
    features = scale * gaussian(*shape) * torch.linspace(0.1, 3.0, shape[1])
    expected = by_oas(features) if shape[0] > 1 else 0.0
    tolerance = {"rel": 1e-7, "abs": 1e-11}
    assert float(volume(features, estimator="shrunk")) == pytest.approx(expected, **tolerance)
    scales = semantic_scales(
        features.repeat(2, 1), torch.arange(2).repeat_interleave(len(features)), 2, estimator="shrunk"
    )
    assert scales.tolist() == pytest.approx([expected] * 2, **tolerance)
    centred = features - features.mean(0)
    count = torch.tensor([len(features)])
    moments = scales_from_moments(count, (centred.T @ centred)[None], estimator="shrunk")
    assert moments.tolist() == pytest.approx([expected], **tolerance)


@SETTINGS
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=12), dim=st.integers(1, 24), seed=st.integers(0, 1000))
def test_scales_of_all_classes_are_those_of_each(counts: list[int], dim: int, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    labels = labels[order]
    features = gaussian(len(labels), dim, seed=seed) * (1.0 + labels[:, None]) + 50.0
    scales = semantic_scales(features, labels, len(counts))
    for label, count in enumerate(counts):
        if count == 0:
            assert math.isnan(scales[label])
        elif count == 1:
            assert scales[label] == 0.0
        else:
            assert float(scales[label]) == pytest.approx(by_slogdet(features[labels == label]), rel=1e-10)


@pytest.mark.usefixtures("small_blocks")
def test_classes_larger_than_a_block_and_hopeless_gram_matrices_go_alone() -> None:
    labels = torch.arange(4).repeat_interleave(torch.tensor([50, 3, 12, 8]))
    features = gaussian(len(labels), 6)
    features[labels == 1] *= 1e9
    features[labels == 3] = 1e8 * gaussian(8, 2) @ gaussian(2, 6, seed=1)
    expected = [by_singular_values(features[labels == c]) for c in range(4)]
    assert semantic_scales(features, labels, 4).tolist() == pytest.approx(expected, rel=1e-7)


def test_no_samples_at_all_leave_every_scale_undefined() -> None:
    assert semantic_scales(torch.zeros(0, 3), torch.zeros(0).long(), 2).isnan().all()
    assert class_centres(torch.zeros(0, 3), torch.zeros(0).long(), 2).isnan().all()


def test_moments_give_the_scales_of_the_features() -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor([30, 4, 1]))
    features = gaussian(35, 8)
    centred = features - class_centres(features, labels, 3)[labels]
    scatter = torch.stack([centred[labels == c].T @ centred[labels == c] for c in range(3)] + [torch.zeros(8, 8)])
    scatter[2].diagonal().add_(1e-9)  # what sums that were added to and subtracted from leave in a class of one
    before = scatter.clone()
    result = scales_from_moments(torch.tensor([30, 4, 1, 0]), scatter, unit=2.0, ratio=1.5)
    expected = semantic_scales(features, labels, 4, unit=2.0, ratio=1.5)
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=0.0, equal_nan=True)
    assert torch.equal(scatter, before)


def test_moments_with_a_rounded_negative_eigenvalue_stay_defined() -> None:
    basis = torch.linalg.qr(gaussian(3, 3)).Q
    scatter = basis @ torch.diag(torch.tensor([1e6, 5.0, -2.0], dtype=torch.float64)) @ basis.T
    expected = 0.5 * (math.log2(1 + 1e6) + math.log2(6.0))
    bits = scales_from_moments(torch.tensor([10]), scatter[None], ratio=10.0)
    assert bits.tolist() == pytest.approx([expected], rel=1e-6)


def test_centres_and_distances_against_a_loop() -> None:
    labels = torch.tensor([0, 2, 2, 0, 3, 3, 3])
    features = gaussian(7, 5, dtype=torch.float32)
    centres = class_centres(features, labels, 5)
    present = [0, 2, 3]
    numpy_centres = {c: features.double().numpy()[labels.numpy() == c].mean(axis=0) for c in present}
    distances = centre_distances(centres)
    assert centres.dtype == distances.dtype == torch.float64
    for c in range(5):
        if c not in present:
            assert centres[c].isnan().all()
            assert math.isnan(distances[c])
            continue
        np.testing.assert_allclose(centres[c].numpy(), numpy_centres[c], rtol=1e-12)
        others = [np.linalg.norm(numpy_centres[c] - numpy_centres[j]) for j in present if j != c]
        assert float(distances[c]) == pytest.approx(sum(others) / 2, rel=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 4.0])
def test_interclass_weights_on_a_line(alpha: float) -> None:
    # Centres 0, 1, 5: mean distances 3, 2.5, 4.5.
    centres = torch.tensor([[0.0], [math.nan], [1.0], [5.0]])
    weights = interclass_weights(centres, alpha)
    expected = [math.log2(alpha + 3 / 4.5), math.nan, math.log2(alpha + 2.5 / 4.5), math.log2(alpha + 1)]
    assert weights.tolist() == pytest.approx(expected, nan_ok=True)


def test_interclass_weights_without_any_distance_count_as_the_largest() -> None:
    assert interclass_weights(torch.tensor([[3.0, 1.0]])).tolist() == [1.0]
    apart = interclass_weights(torch.tensor([[0.1, 0.7]]).repeat(3, 1).index_fill(0, torch.tensor([1]), math.nan), 3.0)
    assert apart.tolist() == pytest.approx([2.0, math.nan, 2.0], nan_ok=True)
    assert interclass_weights(torch.full((2, 3), math.nan)).isnan().all()


def test_interclass_weights_do_not_depend_on_size_or_origin() -> None:
    centres = gaussian(6, 4)
    expected = interclass_weights(centres)
    torch.testing.assert_close(interclass_weights(1e3 * centres + 1e5), expected, rtol=1e-9, atol=0.0)


def test_imbalance_is_the_relative_scale_times_the_weight() -> None:
    scales = torch.tensor([8.0, 2.0, math.nan, 0.0])
    weights = torch.tensor([0.5, 1.0, math.nan, 1.0])
    assert semantic_scale_imbalance(scales, weights).tolist() == pytest.approx([0.5, 0.25, math.nan, 0.0], nan_ok=True)
    zeros = torch.tensor([0.0, math.nan, 0.0])
    assert semantic_scale_imbalance(zeros, torch.ones(3)).tolist() == pytest.approx([0.0, math.nan, 0.0], nan_ok=True)


@pytest.mark.parametrize("num_classes", [2, 127, 128, 129, 300])
def test_distances_in_blocks_are_those_of_all_pairs(num_classes: int) -> None:
    centres = gaussian(num_classes, 3)
    pairs = (centres[:, None] - centres[None]).square().sum(2).sqrt()
    torch.testing.assert_close(centre_distances(centres), pairs.sum(1) / (num_classes - 1), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("options", [{}, {"alpha": 3.0}, {"unit": 2.0, "ratio": 1.0}, {"estimator": "shrunk"}])
def test_the_geometry_of_classes_is_all_of_it_at_once(options: dict[str, Any]) -> None:
    labels = torch.tensor([0, 3, 3, 0, 1, 0, 3, 0, 5])
    features = gaussian(9, 3, dtype=torch.float32)
    found = class_geometry(features, labels, 7, **options)
    alpha = options.pop("alpha", 1.0)
    scales, centres = semantic_scales(features, labels, 7, **options), class_centres(features, labels, 7)
    weights = interclass_weights(centres, alpha)
    assert found.counts.tolist() == [4, 1, 0, 3, 0, 1, 0]
    expected = (scales, centres, weights, semantic_scale_imbalance(scales, weights))
    both = zip(expected, (found.scales, found.centres, found.interclass_weights, found.imbalance), strict=True)
    assert all(torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0)) for one, other in both)
    again = ClassGeometry.of(found.counts, scales.numpy(), centres.tolist(), alpha)
    assert torch.equal(again.imbalance.nan_to_num(-1.0), found.imbalance.nan_to_num(-1.0))


def test_without_distances_every_present_class_weighs_the_same() -> None:
    found = class_geometry(gaussian(6, 3), torch.tensor([0, 0, 2, 2, 2, 2]), 3, alpha=None)
    assert found.interclass_weights.tolist() == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    expected = (found.scales / found.scales.nan_to_num().max()).tolist()
    assert found.imbalance.tolist() == pytest.approx(expected, nan_ok=True)


def test_results_carry_no_gradient_and_leave_the_input_alone() -> None:
    features = gaussian(10, 4).requires_grad_()
    before = features.detach().clone()
    labels = torch.arange(10) % 2
    assert not volume(features).requires_grad
    assert not semantic_scales(features, labels, 2).requires_grad
    assert not class_centres(features, labels, 2).requires_grad
    assert torch.equal(features.detach(), before)


def test_autocast_does_not_reach_the_measure() -> None:
    features, labels = gaussian(40, 8, dtype=torch.float32), torch.arange(40) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scales, centres = semantic_scales(features, labels, 4), class_centres(features, labels, 4)
        distances = centre_distances(centres)
    assert torch.equal(scales, semantic_scales(features, labels, 4))
    assert torch.equal(distances, centre_distances(class_centres(features, labels, 4)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    features, labels = gaussian(20, 3), torch.arange(20) % 3
    assert torch.equal(semantic_scales(features, labels.to(dtype), 3), semantic_scales(features, labels, 3))
    assert torch.equal(class_centres(features, labels.to(dtype), 3), class_centres(features, labels, 3))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"unit": 0.0}, "`unit` to be a number above 0, but got 0.0"),
        ({"ratio": "m"}, "`ratio` to be \"dim\" or a number above 0, but got 'm'"),
        ({"ratio": -1.0}, "but got -1.0"),
        ({"estimator": "lasso"}, "`estimator` to be one of plain, shrunk, but got 'lasso'"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], text: str) -> None:
    calls = (
        lambda: volume(torch.ones(2, 2), **options),
        lambda: semantic_scales(torch.ones(2, 2), torch.zeros(2).long(), 1, **options),
        lambda: scales_from_moments(torch.ones(1), torch.ones(1, 2, 2), **options),
    )
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(text)):
            call()


@pytest.mark.parametrize(
    "labels, num_classes, error, text",
    [
        (torch.tensor([0, 3]), 3, ValueError, "in [0, 3), but got values from 0 to 3"),
        (torch.tensor([-1, 0]), 3, ValueError, "from -1 to 0"),
        (torch.tensor([0, 1, 2]), 3, ValueError, "shape (2,), one a row, but got shape (3,)"),
        (torch.tensor([0.0, 1.0]), 3, TypeError, "integer tensor, but got torch.float32"),
        (torch.tensor([0, 0]), 0, ValueError, "`num_classes` to be an integer of at least 1, but got 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    labels: Tensor, num_classes: int, error: type[Exception], text: str
) -> None:
    for function in (semantic_scales, class_centres):
        with pytest.raises(error, match=re.escape(text)):
            function(torch.ones(2, 2), labels, num_classes)


def test_other_refusals_name_the_argument() -> None:
    with pytest.raises(ValueError, match=re.escape("`alpha` to be a number of at least 1, but got 0.5")):
        interclass_weights(torch.ones(2, 2), alpha=0.5)
    with pytest.raises(ValueError, match=re.escape("but got shape (2,)")):
        centre_distances(torch.ones(2))
    with pytest.raises(ValueError, match=re.escape("but got (2,) and (3,)")):
        semantic_scale_imbalance(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match=re.escape("but got (2,) and (3, 2, 2)")):
        scales_from_moments(torch.ones(2), torch.ones(3, 2, 2))
