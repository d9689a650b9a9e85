"""Scales of all classes, against one class at a time and scikit-learn's OAS."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import by_oas, by_singular_values, by_slogdet, gaussian

from semscale_pl.geometry import (
    class_centres,
    scales_from_moments,
    semantic_scale,
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
