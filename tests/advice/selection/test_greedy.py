"""The greedy choice against brute force, and its objective against numpy, with the properties the guarantee needs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.advice.selection import coverage, greedy


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
