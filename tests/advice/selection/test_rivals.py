"""Random draws, herding and k-centre against naive loops and their known properties."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from semscale_pl.advice.selection import METHODS, best_of_draws, covering_radius, herding, k_centre, random_rows, select
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.seeding import derive_seed


def cloud(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64) + 1.0


def naive_herding(features: np.ndarray, size: int) -> list[int]:
    rows: list[int] = []
    for _ in range(size):
        others = [row for row in range(len(features)) if row not in rows]
        errors = [np.linalg.norm(features.mean(0) - features[[*rows, row]].mean(0)) for row in others]
        rows.append(others[int(np.argmin(errors))])
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_the_naive_loop(seed: int) -> None:
    features = cloud(30, 4, seed)
    assert herding(features, 12).tolist() == naive_herding(features.numpy(), 12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_k_centre_is_within_twice_the_best_radius(seed: int, size: int) -> None:
    features = cloud(9, 2, seed)
    distances = torch.cdist(features, features)
    best = min(float(distances[list(rows)].amin(0).max()) for rows in combinations(range(9), size))
    rows = k_centre(features, size)
    radius = float(covering_radius(features, rows))
    assert radius == pytest.approx(float(distances[rows].amin(0).max()), rel=1e-9)
    assert best <= radius * (1 + 1e-9)
    assert radius <= 2.0 * best + 1e-9


def test_the_best_draw_is_the_best_draw() -> None:
    features = cloud(20, 3, 0)
    draws = [random_rows(20, 5, derive_seed(7, draw)) for draw in range(40)]
    scales = [float(semantic_scale(features[rows])) for rows in draws]
    chosen = best_of_draws(features, 5, draws=40, seed=7)
    assert chosen.tolist() == draws[int(np.argmax(scales))].tolist()
    assert float(semantic_scale(features[best_of_draws(features, 5, 1, 7)])) <= max(scales)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_chooses_different_rows_again_and_again_the_same(method: str) -> None:
    features = cloud(15, 3, 1)
    rows = select(features, 6, method, seed=3)
    assert rows.dtype == torch.int64
    assert len(set(rows.tolist())) == 6
    assert set(rows.tolist()) <= set(range(15))
    assert select(features, 6, method, seed=3).tolist() == rows.tolist()
    assert sorted(select(features, 15, method).tolist()) == list(range(15))
    assert len(select(features[:1], 1, method)) == 1


@pytest.mark.parametrize("method", list(METHODS))
def test_identical_samples_are_no_trouble(method: str) -> None:
    assert len(set(select(torch.ones(8, 2), 5, method).tolist())) == 5


@pytest.mark.parametrize("method", ["random", "herding", "k_centre"])
def test_smaller_choices_are_the_beginning_of_larger_ones(method: str) -> None:
    features = cloud(15, 3, 2)
    assert select(features, 4, method).tolist() == select(features, 9, method)[:4].tolist()


def test_seeds_matter_where_something_is_drawn() -> None:
    features = cloud(40, 3, 2)
    assert select(features, 4, "random", 0).tolist() != select(features, 4, "random", 1).tolist()
    assert select(features, 4, "greedy", 0).tolist() == select(features, 4, "greedy", 1).tolist()


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("size", [0, 4])
def test_sizes_out_of_range_are_refused(method: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `size` to be from 1 to the 3 samples there are, but got {size}."):
        select(cloud(3, 2, 0), size, method)


def test_unknown_methods_and_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `method` to be one of"):
        select(cloud(3, 2, 0), 1, "best")
    with pytest.raises(ValueError, match="Expected `draws` to be at least 1, but got 0"):
        best_of_draws(cloud(3, 2, 0), 1, 0)
