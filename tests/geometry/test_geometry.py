"""Sample volumes, pooled features, and what every function of the geometry refuses."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from references import by_slogdet, gaussian
from torch import Tensor

from semscale_pl.geometry import (
    centre_distances,
    class_centres,
    interclass_weights,
    pool_features,
    sample_volumes,
    scales_from_moments,
    semantic_scale_imbalance,
    semantic_scales,
    volume,
)


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
        ([["a"]], TypeError, "Expected `features` to be real numbers, but got words"),
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
