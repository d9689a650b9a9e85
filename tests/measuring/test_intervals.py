"""Intervals of S' against naive jackknives in numpy, and how often they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.measuring.intervals import METHODS, jackknife, scale_intervals, subsampled
from semscale_pl.studies.known_volumes import populations


def bits(z: np.ndarray) -> float:
    z = z - z.mean(axis=0)
    m, dim = z.shape
    return float(np.linalg.slogdet(np.eye(dim) + dim / m * z.T @ z)[1] / 2 / math.log(2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(m: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(m, dim, generator=generator(seed), dtype=torch.float64)


def coverage(name: str, dim: int, m: int, method: str, repeats: int = 200) -> float:
    """Return the share of intervals that hold the expectation of S' at this m, itself a mean of many draws."""
    population = populations(dim)[name]
    labels = torch.arange(repeats).repeat_interleave(m)
    many = torch.arange(5 * repeats).repeat_interleave(m)
    expected = float(semantic_scales(population.sample(m, 1, 5 * repeats), many, 5 * repeats).mean())
    bounds = scale_intervals(population.sample(m, 2, repeats), labels, repeats, method=method, repeats=50)
    return float(((bounds[:, 0] <= expected) & (expected <= bounds[:, 1])).double().mean())


@pytest.mark.parametrize("shape", [(12, 4), (12, 30), (39, 8)])
def test_single_rows_left_out_are_the_ordinary_jackknife(shape: tuple[int, int]) -> None:
    rows = gaussian(*shape)
    m, z = shape[0], rows.numpy()
    without = np.array([bits(np.delete(z, row, axis=0)) for row in range(m)])
    error = math.sqrt((m - 1) / m * np.square(without - without.mean()).sum())
    assert jackknife(rows, 20, generator()) == pytest.approx((bits(z), error, m - 1), rel=1e-9)
    reach = stats.t.ppf(0.975, m - 1) * error
    bounds = scale_intervals(rows, torch.zeros(m).long(), 1)[0].tolist()
    assert bounds == pytest.approx([max(0.0, bits(z) - reach), bits(z) + reach], rel=1e-9)


@pytest.mark.parametrize("shape", [(100, 6), (107, 6), (60, 90)])
def test_groups_left_out_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    rows, number = gaussian(*shape), 20
    m, z = shape[0], rows.numpy()
    parts = np.array_split(torch.randperm(m, generator=generator()).numpy(), number)
    shares = np.array([m / len(part) for part in parts])
    without = np.array([bits(np.delete(z, part, axis=0)) for part in parts])
    pseudo = shares * bits(z) - (shares - 1) * without
    estimate = number * bits(z) - ((1 - 1 / shares) * without).sum()
    error = math.sqrt(np.mean((pseudo - estimate) ** 2 / (shares - 1)))
    assert jackknife(rows, number, generator()) == pytest.approx((bits(z), error, number - 1), rel=1e-8)


@pytest.mark.parametrize("name", ["sphere", "power law", "rank d/8"])
@pytest.mark.parametrize("m", [30, 400])
def test_both_methods_find_the_spread_of_fresh_samples(name: str, m: int) -> None:
    population = populations(16)[name]
    repeats = 150
    labels = torch.arange(repeats).repeat_interleave(m)
    spread = float(semantic_scales(population.sample(m, 3, repeats), labels, repeats).std())
    samples = population.sample(m, 4, 10).split(m)
    for estimate in (
        np.mean([jackknife(rows, 20, generator())[1] for rows in samples]),
        np.mean([subsampled(rows, 100, generator())[1] for rows in samples]),
    ):
        # On the sphere all samples are nearly alike, which a linear statistic cannot see: the interval is too wide.
        assert 0.75 * spread < estimate < (2.0 if name == "sphere" else 1.35) * spread


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "dim", "m"), [("isotropic", 8, 50), ("power law", 16, 10), ("rank d/8", 8, 20)])
def test_intervals_cover_the_expectation_at_their_count(method: str, name: str, dim: int, m: int) -> None:
    # 200 intervals: a coverage of 95 % is above 90 % all but once in a thousand times.
    assert coverage(name, dim, m, method) > 0.9


def test_a_bootstrap_would_not_cover() -> None:
    rows, draws = gaussian(40, 16).numpy(), np.random.default_rng(0)
    resampled = [bits(rows[draws.integers(0, 40, 40)]) for _ in range(200)]
    low, high = scale_intervals(torch.from_numpy(rows), torch.zeros(40).long(), 1)[0].tolist()
    assert np.quantile(resampled, 0.975) < bits(rows)
    assert low < bits(rows) < high


@pytest.mark.parametrize("method", METHODS)
def test_few_absent_and_identical_rows(method: str) -> None:
    features = torch.cat([gaussian(4, 3), torch.full((6, 3), 2.5), gaussian(5, 3)])
    labels = torch.tensor([0] * 4 + [2] * 6 + [3] * 5)
    bounds = scale_intervals(features, labels, 4, method=method)
    assert bounds.shape == (4, 2)
    assert bounds[:2].isnan().all()
    assert bounds[2].tolist() == [0.0, 0.0]
    assert 0.0 <= float(bounds[3, 0]) < float(bounds[3, 1])


def test_level_and_seed() -> None:
    rows, labels = gaussian(100, 4), torch.zeros(100).long()
    narrow, wide = (scale_intervals(rows, labels, 1, level=level)[0] for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert scale_intervals(rows, labels, 1, seed=1).equal(scale_intervals(rows, labels, 1, seed=1))
    assert not scale_intervals(rows, labels, 1, seed=1).equal(scale_intervals(rows, labels, 1, seed=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bootstrap"}, "`method` to be one of jackknife, subsample, but got 'bootstrap'"),
        ({"level": 1.0}, "`level` to be in (0, 1), but got 1.0"),
        ({"groups": 1}, "`groups` to be at least 2, but got 1"),
        ({"repeats": 1}, "`repeats` to be at least 2, but got 1"),
    ],
)
def test_wrong_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        scale_intervals(torch.ones(6, 2), torch.zeros(6).long(), 1, **options)
    assert message in str(caught.value)
