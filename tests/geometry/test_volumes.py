"""The measure against singular values and determinants in numpy, closed forms, and the paper's properties."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import by_oas, by_singular_values, by_slogdet, gaussian
from torch import Tensor

import semscale_pl.geometry.volumes
from semscale_pl.geometry import (
    parallelotope_volume,
    semantic_scale,
    volume,
)

SETTINGS = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("shape", [(1, 5), (2, 1), (5, 5), (40, 7), (7, 40), (300, 16)])
@pytest.mark.parametrize("options", [{}, {"ratio": 1.0}, {"unit": 0.3}, {"center": False}])
def test_volume_is_the_log_determinant(shape: tuple[int, int], options: dict[str, float]) -> None:
    features = gaussian(*shape)
    assert float(volume(features, **options)) == pytest.approx(by_slogdet(features, **options), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_result_is_float64_and_exact_for_every_input_type(dtype: torch.dtype) -> None:
    features = gaussian(50, 12, dtype=dtype)
    result = volume(features)
    assert result.dtype == torch.float64
    assert result.shape == ()
    assert float(result) == pytest.approx(by_slogdet(features), rel=1e-12)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
@pytest.mark.parametrize("exponent", [-150, -12, -8, -5, -3, -2, -1, 2, 4, 8, 12, 150])
def test_any_scale_is_exact(shape: tuple[int, int], exponent: int) -> None:
    features = gaussian(*shape) * 10.0**exponent
    assert float(semantic_scale(features)) == pytest.approx(by_singular_values(features), rel=1e-6, abs=0.0)


@pytest.mark.parametrize("shape", [(200, 24), (24, 200)])
@pytest.mark.parametrize("exponent", [-6, 0, 3, 4, 5, 6, 7, 8])
def test_rank_deficient_classes_are_exact_at_any_scale(shape: tuple[int, int], exponent: int) -> None:
    m, dim = shape
    features = 10.0**exponent * gaussian(m, 3) @ gaussian(3, dim, seed=1)
    assert float(semantic_scale(features)) == pytest.approx(by_singular_values(features), rel=1e-6, abs=0.0)


def test_one_large_and_many_small_directions_keep_the_small_ones() -> None:
    # The Gram matrix has a trace of 1e20: its rounding errors are thousands of times the other eigenvalues.
    deviations = torch.full((9,), 1e-1, dtype=torch.float64)
    deviations[0] = 1e9
    frame = torch.linalg.qr(gaussian(60, 10)).Q[:, :9]
    frame = torch.linalg.qr(frame - frame.mean(0)).Q
    features = math.sqrt(60) * frame * deviations
    expected = 0.5 * math.log2(1 + 9e18) + 8 * 0.5 * math.log2(1 + 9 * 0.01)
    assert float(semantic_scale(features)) == pytest.approx(expected, rel=1e-6)
    assert float(semantic_scale(features)) - 0.5 * math.log2(1 + 9e18) == pytest.approx(
        8 * 0.5 * math.log2(1.09), rel=1e-4
    )


def test_orthogonal_frame_is_a_sum_of_logs() -> None:
    lengths = torch.tensor([1.0, 2.0, 5.0, 0.5], dtype=torch.float64)
    expected = sum(0.5 * math.log2(1 + length**2) for length in lengths.tolist())  # d/m = 1
    rotation = torch.linalg.qr(gaussian(4, 4)).Q
    assert float(volume(torch.diag(lengths), center=False)) == pytest.approx(expected, rel=1e-14)
    assert float(volume(torch.diag(lengths) @ rotation, center=False)) == pytest.approx(expected, rel=1e-13)


def test_isotropic_gaussian_tends_to_its_closed_form() -> None:
    deviation, dim = 0.7, 6
    expected = 0.5 * dim * math.log2(1 + dim * deviation**2)
    errors = [abs(float(semantic_scale(deviation * gaussian(m, dim))) - expected) for m in (200, 200_000)]
    assert errors[1] < 0.02 < errors[0] * 2
    assert errors[1] < errors[0]


@SETTINGS
@given(m=st.integers(2, 20), dim=st.integers(1, 20), seed=st.integers(0, 1000))
def test_both_gram_sides_agree(m: int, dim: int, seed: int) -> None:
    features = gaussian(m, dim, seed=seed)
    # The same points, wide enough for the m x m side, at a ratio that does not depend on the width.
    wide = torch.cat([features, torch.zeros(m, m + 1)], dim=1)
    assert float(volume(features, ratio=3.0)) == pytest.approx(float(volume(wide, ratio=3.0)), rel=1e-11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shape", [(100, 6), (6, 100), (61, 61)])
@pytest.mark.parametrize("scale", [1.0, 1e7])
def test_blocks_do_not_change_the_result(shape: tuple[int, int], scale: float) -> None:
    assert semscale_pl.geometry.volumes.num_lines(6) == 10
    features = scale * gaussian(*shape) + 5.0
    assert float(volume(features)) == pytest.approx(by_singular_values(features), rel=1e-9)
    assert float(volume(features, center=False, unit=scale)) == pytest.approx(
        by_slogdet(features, unit=scale, center=False), rel=1e-9
    )


def test_shrunk_estimator_by_singular_values_is_oas() -> None:
    features = 1e7 * gaussian(200, 3) @ gaussian(3, 24, seed=1)  # the Gram matrix alone would not do
    assert float(volume(features, estimator="shrunk")) == pytest.approx(by_oas(features), rel=1e-9)


@SETTINGS
@given(m=st.integers(2, 30), dim=st.integers(1, 30), seed=st.integers(0, 1000), log_scale=st.floats(-3, 3))
def test_permutation_rotation_translation_and_repetition_change_nothing(
    m: int, dim: int, seed: int, log_scale: float
) -> None:
    features = 10.0**log_scale * gaussian(m, dim, seed=seed)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(gaussian(dim, dim, seed=seed + 1)).Q
    shift = 100.0 * 10.0**log_scale * gaussian(dim, seed=seed + 2)
    expected = pytest.approx(float(semantic_scale(features)), rel=1e-7)
    for changed in (features[order], features @ rotation, features + shift, features.repeat(3, 1)):
        assert float(semantic_scale(changed)) == expected


@SETTINGS
@given(m=st.integers(2, 30), dim=st.integers(1, 30), seed=st.integers(0, 1000), growth=st.floats(1.01, 100.0))
def test_volume_grows_with_the_manifold(m: int, dim: int, seed: int, growth: float) -> None:
    features = gaussian(m, dim, seed=seed)
    small, large = float(semantic_scale(features)), float(semantic_scale(growth * features))
    assert 0.0 < small < large
    assert float(semantic_scale(growth * features)) == pytest.approx(float(volume(features, unit=1 / growth)), rel=1e-9)


def test_parallelotope_volume_in_closed_form() -> None:
    square = gaussian(4, 4)
    assert float(parallelotope_volume(torch.tensor([[3.0], [4.0], [12.0]]))) == pytest.approx(13.0, rel=1e-14)
    assert float(parallelotope_volume(square)) == pytest.approx(abs(np.linalg.det(square.numpy())), rel=1e-12)
    vectors = gaussian(6, 3)
    gram = (vectors.T @ vectors).numpy()
    assert float(parallelotope_volume(vectors)) == pytest.approx(math.sqrt(np.linalg.det(gram)), rel=1e-12)
    rotation = torch.linalg.qr(gaussian(6, 6, seed=1)).Q
    assert float(parallelotope_volume(rotation @ vectors)) == pytest.approx(float(parallelotope_volume(vectors)))
    assert float(parallelotope_volume(gaussian(2, 3))) == 0.0
    assert float(parallelotope_volume(vectors[:, [0, 1, 0]])) == pytest.approx(0.0, abs=1e-14)


def test_finite_features_whose_sum_overflows_are_allowed() -> None:
    features = torch.tensor([[1.5e308, 0.0], [1.4e308, 1.0], [1.3e308, 3.0]], dtype=torch.float64)
    assert math.isfinite(float(volume(features)))


@pytest.mark.parametrize(
    "features, error, text",
    [
        ([["a"]], TypeError, "Expected `features` to be real numbers, but got words"),
        (torch.ones(3, 2, dtype=torch.complex64), TypeError, "but got torch.complex64"),
        (np.ma.masked_array(np.ones((3, 2)), mask=[[1, 0]] * 3), ValueError, "of `features`, but 3 are masked"),
        (torch.ones(3), ValueError, "but got shape (3,)"),
        (torch.ones(0, 3), ValueError, "at least 1 row, but got shape (0, 3)"),
        (torch.ones(3, 0), ValueError, "but got shape (3, 0)"),
        (
            torch.tensor([[math.nan, 1.0], [math.inf, math.nan], [0.0, 0.0]]),
            ValueError,
            "2 NaN and 1 infinite entries in 2 of 3",
        ),
    ],
)
def test_volume_refuses_other_features(features: Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        volume(features)
