"""The greedy choice against brute force, and its objective against numpy, with the properties the guarantee needs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.advice.selection import (
    METHODS,
    best_of_draws,
    coverage,
    covering_radius,
    greedy,
    herding,
    k_centre,
    random_rows,
    select,
    shrink,
)
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.seeding import derive_seed


def reference(features: np.ndarray, rows: list[int], size: int) -> float:
    centred = features - features.mean(0)
    chosen = centred[rows]
    gram = np.eye(len(rows)) + features.shape[1] / size * chosen @ chosen.T
    return 0.5 * float(np.linalg.slogdet(gram)[1]) / math.log(2.0)


def cloud(rows: int, dim: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, dim, generator=generator, dtype=torch.float64) + 3.0


@pytest.mark.parametrize(("num_rows", "dim", "size"), [(9, 2, 3), (10, 4, 4), (9, 12, 3), (8, 1, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_at_least_the_guaranteed_share_of_the_best_of_all_subsets(
    num_rows: int, dim: int, size: int, seed: int
) -> None:
    features = cloud(num_rows, dim, seed)
    best = max(reference(features.numpy(), list(rows), size) for rows in combinations(range(num_rows), size))
    reached = float(greedy(features, size).bits[-1])
    assert (1.0 - 1.0 / math.e) * best <= reached <= best * (1.0 + 1e-9)


@pytest.mark.parametrize(("num_rows", "dim"), [(40, 6), (12, 30)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_bits_are_those_of_slogdet_at_every_step(num_rows: int, dim: int, scale: float) -> None:
    features = cloud(num_rows, dim, 1, scale)
    size = min(10, num_rows)
    chosen = greedy(features, size)
    for step in range(size):
        rows = chosen.rows[: step + 1].tolist()
        expected = reference(features.numpy(), rows, size)
        assert float(chosen.bits[step]) == pytest.approx(expected, rel=1e-6)
        assert float(coverage(features, torch.tensor(rows), size)) == pytest.approx(expected, rel=1e-6)


def test_each_step_is_the_best_single_addition() -> None:
    features = cloud(25, 5, 3)
    size = 8
    rows: list[int] = []
    for row in greedy(features, size).rows.tolist():
        values = [reference(features.numpy(), [*rows, other], size) for other in range(25) if other not in rows]
        rows.append(row)
        assert reference(features.numpy(), rows, size) == pytest.approx(max(values), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.data())
def test_the_objective_is_monotone_and_submodular(seed: int, dim: int, data: st.DataObject) -> None:
    features = cloud(8, dim, seed)
    small = set(data.draw(st.lists(st.integers(0, 6), max_size=4, unique=True)))
    large = small | set(data.draw(st.lists(st.integers(0, 6), max_size=4, unique=True)))

    def value(rows: set[int]) -> float:
        return float(coverage(features, torch.tensor(sorted(rows), dtype=torch.int64), 5))

    assert value(small) <= value(large) + 1e-9
    assert value(small | {7}) - value(small) >= value(large | {7}) - value(large) - 1e-9


def test_the_scale_itself_is_not_monotone() -> None:
    # Two far points, then one between them: S' falls, the reason why the objective centres at the class mean.
    from semscale_pl.geometry.volumes import semantic_scale

    line = torch.tensor([[-3.0], [3.0], [0.0]])
    assert float(semantic_scale(line)) < float(semantic_scale(line[:2]))
    assert float(coverage(line, torch.tensor([0, 1, 2]), 3)) >= float(coverage(line, torch.tensor([0, 1]), 3))


def test_identical_samples_are_each_taken_once() -> None:
    chosen = greedy(torch.full((6, 3), 2.5), 4)
    assert chosen.rows.tolist() == [0, 1, 2, 3]
    assert chosen.bits.tolist() == [0.0] * 4
    assert sorted(greedy(cloud(7, 3, 0), 7).rows.tolist()) == list(range(7))


def test_duplicates_of_a_chosen_sample_lose_their_appeal() -> None:
    features = torch.tensor([[5.0, 0.0], [5.0, 0.0], [5.0, 0.0], [0.0, 4.0], [-5.0, -1.0]])
    assert set(greedy(features, 2).rows.tolist()) & {3, 4}


@pytest.mark.parametrize("size", [0, -1, 6])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `size` to be from 1 to the 5 samples there are, but got {size}."):
        greedy(cloud(5, 2, 0), size)


def test_rows_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers from 0 to 4"):
        coverage(cloud(5, 2, 0), torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="`size` to be at least 1"):
        coverage(cloud(5, 2, 0), torch.tensor([0]), 0)
    assert float(coverage(cloud(5, 2, 0), torch.tensor([], dtype=torch.int64))) == 0.0


# Random draws, herding and k-centre against naive loops and their known properties.
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
def test_every_method_refuses_sizes_out_of_range(method: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `size` to be from 1 to the 3 samples there are, but got {size}."):
        select(cloud(3, 2, 0), size, method)


def test_unknown_methods_and_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `method` to be one of"):
        select(cloud(3, 2, 0), 1, "best")
    with pytest.raises(ValueError, match="Expected `draws` to be at least 1, but got 0"):
        best_of_draws(cloud(3, 2, 0), 1, 0)


# Shrinking keeps the share of every class's volume that was asked for, with as few samples as possible.
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 120 + [2] * 40 + [3] * 1)
    return torch.randn(161, 4, generator=generator, dtype=torch.float64), labels[torch.randperm(161)]


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_the_share_is_kept_and_one_sample_fewer_would_miss_it(method: str, share: float) -> None:
    features, labels = data()
    kept = shrink(features, labels, share, method)
    assert kept.counts.tolist()[1] == 0
    assert bool(kept.scales[1].isnan())
    assert kept.counts.tolist()[3] == 1
    assert torch.bincount(labels[kept.rows], minlength=4).tolist() == kept.counts.tolist()
    assert bool((kept.rows.diff() > 0).all())
    for label in (0, 2):
        samples = features[labels == label]
        full = float(semantic_scale(samples))
        assert float(kept.full_scales[label]) == pytest.approx(full)
        assert float(kept.scales[label]) == pytest.approx(
            float(semantic_scale(features[kept.rows][labels[kept.rows] == label]))
        )
        assert float(kept.scales[label]) >= share * full or kept.counts[label] == len(samples)
        fewer = int(kept.counts[label]) - 1
        assert float(semantic_scale(samples[select(samples, fewer, method)])) < share * full


def test_a_head_class_shrinks_in_count_and_not_in_volume() -> None:
    generator = torch.Generator().manual_seed(1)
    head = torch.randn(2000, 3, generator=generator)
    tail = torch.randn(20, 3, generator=generator)
    labels = torch.tensor([0] * 2000 + [1] * 20)
    kept = shrink(torch.cat([head, tail]), labels, 0.95, "random")
    assert 3 < int(kept.counts[0]) < 200
    assert float(kept.scales[0]) >= 0.95 * float(kept.full_scales[0])


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="Expected `keep_volume` to be above 0 and at most 1"):
        shrink(*data(), share)


def test_labels_and_methods_are_checked() -> None:
    features, labels = data()
    with pytest.raises(ValueError, match="one a row"):
        shrink(features, labels[:5])
    with pytest.raises(ValueError, match="Expected `method` to be one of"):
        shrink(features, labels, 0.9, "best")
    with pytest.raises(ValueError, match="from -1"):
        shrink(features, labels - 1)
