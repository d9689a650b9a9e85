"""Sample volumes and pooled features, against block means by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from references import by_slogdet, gaussian
from torch import Tensor

from semscale_pl.geometry import pool_features, sample_volumes


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


def test_pooling_to_no_features_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("but got (2, 2) and 0")):
        pool_features(torch.ones(2, 2), 0)
