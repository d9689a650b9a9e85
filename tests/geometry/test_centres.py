"""Class centres, their distances and the inter-class weights, against loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semscale_pl.geometry import (
    centre_distances,
    class_centres,
    interclass_weights,
    semantic_scale_imbalance,
)


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


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


@pytest.mark.parametrize("num_classes", [2, 127, 128, 129, 300])
def test_distances_in_blocks_are_those_of_all_pairs(num_classes: int) -> None:
    centres = gaussian(num_classes, 3)
    pairs = (centres[:, None] - centres[None]).square().sum(2).sqrt()
    torch.testing.assert_close(centre_distances(centres), pairs.sum(1) / (num_classes - 1), rtol=1e-12, atol=0.0)
