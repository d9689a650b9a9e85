"""The measure against singular values and determinants in numpy, closed forms, and the paper's properties."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import oas
from torch import Tensor

import semscale_pl.gram
from semscale_pl.geometry import (
    centre_distances,
    class_centres,
    interclass_weights,
    parallelotope_volume,
    pool_features,
    sample_volumes,
    scales_from_moments,
    semantic_scale,
    semantic_scale_imbalance,
    semantic_scales,
    volume,
)

SETTINGS = settings(max_examples=30, deadline=None)


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_slogdet(features: Tensor, ratio: float | None = None, unit: float = 1.0, center: bool = True) -> float:
    """1/2 log2 det of the d x d form, written down as in the paper."""
    z = features.double().numpy().T
    dim, m = z.shape
    z = z - z.mean(axis=1, keepdims=True) if center else z
    gram = np.eye(dim) + (dim if ratio is None else ratio) / (m * unit**2) * z @ z.T
    return float(np.linalg.slogdet(gram)[1] / 2 / math.log(2))


def by_singular_values(features: Tensor) -> float:
    """1/2 sum log2(1 + s^2), which holds at scales where the determinant's 1 is lost."""
    z = features.double().numpy()
    z = z - z[0]
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False) * math.sqrt(z.shape[1] / len(z))
    values[len(z) - 1 :] = 0.0  # the rank of m centred samples; at 1e150 the rounding errors would look like volume
    small = np.log1p(np.minimum(values, 1.0) ** 2) / 2
    return float(np.where(values < 1.0, small, np.log(np.hypot(1.0, values))).sum() / math.log(2))


def by_oas(features: Tensor) -> float:
    covariance, _ = oas(features.double().numpy())
    dim = covariance.shape[0]
    return float(np.linalg.slogdet(np.eye(dim) + dim * covariance)[1] / 2 / math.log(2))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every computation go through several blocks."""
    monkeypatch.setattr("semscale_pl.gram.BLOCK_ELEMENTS", 60)
    monkeypatch.setattr("semscale_pl.scales.BLOCK_ELEMENTS", 60)


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
    # The same points in a space wide enough for the m x m side, and at a ratio that does not feel it.
    wide = torch.cat([features, torch.zeros(m, m + 1)], dim=1)
    assert float(volume(features, ratio=3.0)) == pytest.approx(float(volume(wide, ratio=3.0)), rel=1e-11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shape", [(100, 6), (6, 100), (61, 61)])
@pytest.mark.parametrize("scale", [1.0, 1e7])
def test_blocks_do_not_change_the_result(shape: tuple[int, int], scale: float) -> None:
    assert semscale_pl.gram.num_lines(6) == 10
    features = scale * gaussian(*shape) + 5.0
    assert float(volume(features)) == pytest.approx(by_singular_values(features), rel=1e-9)
    assert float(volume(features, center=False, unit=scale)) == pytest.approx(
        by_slogdet(features, unit=scale, center=False), rel=1e-9
    )


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


def test_interclass_weights_do_not_feel_size_or_place() -> None:
    centres = gaussian(6, 4)
    expected = interclass_weights(centres)
    torch.testing.assert_close(interclass_weights(1e3 * centres + 1e5), expected, rtol=1e-9, atol=0.0)


def test_imbalance_is_the_relative_scale_times_the_weight() -> None:
    scales = torch.tensor([8.0, 2.0, math.nan, 0.0])
    weights = torch.tensor([0.5, 1.0, math.nan, 1.0])
    assert semantic_scale_imbalance(scales, weights).tolist() == pytest.approx([0.5, 0.25, math.nan, 0.0], nan_ok=True)
    zeros = torch.tensor([0.0, math.nan, 0.0])
    assert semantic_scale_imbalance(zeros, torch.ones(3)).tolist() == pytest.approx([0.0, math.nan, 0.0], nan_ok=True)


def test_sample_volumes_are_scales_of_block_means() -> None:
    # 8 to 4 pixels: the antialiased triangle filter has the weights 1 3 3 1 over 8, cut off and rescaled at the border.
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    filters = np.zeros((4, 8))
    for i in range(4):
        for j, weight in zip(range(2 * i - 1, 2 * i + 3), (1, 3, 3, 1), strict=True):
            if 0 <= j < 8:
                filters[i, j] = weight
    filters /= filters.sum(axis=1, keepdims=True)
    resized = np.einsum("ij,njk,lk->nil", filters, images[:, 0].double().numpy(), filters).reshape(12, 16)
    labels = torch.arange(12) % 2
    expected = [by_slogdet(torch.from_numpy(resized[c::2])) for c in range(2)] + [math.nan]
    assert sample_volumes(images, labels, 3, image_size=4).tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_sample_volumes_count_channels_and_take_half_precision() -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    expected = by_slogdet(images.flatten(1))  # nothing to resize: d = 16^2 * 3
    assert sample_volumes(images, torch.zeros(5).long(), 1).tolist() == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize(
    "images, error, text",
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), TypeError, "`images` to be floating point, but got torch.uint8"),
        (torch.zeros(2, 8, 8), ValueError, "but got (2, 8, 8)"),
        (torch.full((2, 1, 4, 4), 200.0), ValueError, "in [0, 1], but got 200 to 200"),
        (torch.full((2, 1, 4, 4), math.nan), ValueError, "in [0, 1], but got nan"),
    ],
)
def test_sample_volumes_refuse_other_images(images: Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        sample_volumes(images, torch.zeros(2).long(), 1)


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


@pytest.mark.parametrize("width, wanted", [(128, 64), (100, 64), (64, 64), (10, 64), (6, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooled_features_are_means_of_neighbours(width: int, wanted: int, dtype: torch.dtype) -> None:
    features = gaussian(3, width, dtype=dtype)
    pooled = pool_features(features, wanted)
    size = min(width, wanted)
    bounds = [(i * width // size, -(-(i + 1) * width // size)) for i in range(size)]
    expected = torch.stack([features[:, low:high].double().mean(1) for low, high in bounds], dim=1)
    assert pooled.dtype == dtype
    torch.testing.assert_close(
        pooled.double(),
        expected,
        rtol=1e-2 if dtype == torch.bfloat16 else 1e-5,
        atol=1e-2 if dtype == torch.bfloat16 else 1e-6,
    )


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
    "features, error, text",
    [
        ([[1.0]], TypeError, "Expected `features` to be a torch.Tensor, but got list"),
        (torch.ones(3, 2, dtype=torch.int64), TypeError, "but got torch.int64"),
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


def test_finite_features_whose_sum_overflows_are_allowed() -> None:
    features = torch.tensor([[1.5e308, 0.0], [1.4e308, 1.0], [1.3e308, 3.0]], dtype=torch.float64)
    assert math.isfinite(float(volume(features)))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"unit": 0.0}, "`unit` to be a finite number above 0, but got 0.0"),
        ({"ratio": "m"}, "`ratio` to be \"dim\" or a finite number above 0, but got 'm'"),
        ({"ratio": -1.0}, "but got -1.0"),
        ({"estimator": "lasso"}, "`estimator` to be one of ('plain', 'shrunk'), but got 'lasso'"),
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
        (torch.tensor([0, 0]), 0, ValueError, "`num_classes` to be at least 1, but got 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    labels: Tensor, num_classes: int, error: type[Exception], text: str
) -> None:
    for function in (semantic_scales, class_centres):
        with pytest.raises(error, match=re.escape(text)):
            function(torch.ones(2, 2), labels, num_classes)


def test_other_refusals_name_the_argument() -> None:
    with pytest.raises(ValueError, match=re.escape("`alpha` to be a finite number of at least 1, but got 0.5")):
        interclass_weights(torch.ones(2, 2), alpha=0.5)
    with pytest.raises(ValueError, match=re.escape("but got shape (2,)")):
        centre_distances(torch.ones(2))
    with pytest.raises(ValueError, match=re.escape("but got (2,) and (3,)")):
        semantic_scale_imbalance(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match=re.escape("but got (2,) and (3, 2, 2)")):
        scales_from_moments(torch.ones(2), torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match=re.escape("but got (2, 2) and 0")):
        pool_features(torch.ones(2, 2), 0)
