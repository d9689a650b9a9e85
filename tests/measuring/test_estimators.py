"""Count-controlled scales against scikit-learn, naive loops, closed forms and populations of known volume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf, oas
from torch import Tensor

from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.measuring.estimators import (
    controlled_scales,
    matched_scales,
    matched_size,
    shrunk_scales,
)
from semscale_pl.measuring.extrapolation import extrapolated_scales, extrapolations
from semscale_pl.measuring.subsamples import bits_of_subsets, coordinates
from semscale_pl.options import CONTROLLED
from semscale_pl.studies.known_volumes import populations


def bits(features: Tensor) -> float:
    """1/2 log2 det(I + d/m Z Z^T) by numpy's slogdet."""
    z = features.double().numpy()
    z = z - z.mean(axis=0)
    m, dim = z.shape
    return float(np.linalg.slogdet(np.eye(dim) + dim / m * z.T @ z)[1] / 2 / math.log(2))


def one_class(features: Tensor) -> Tensor:
    return torch.zeros(len(features), dtype=torch.int64)


# --- the problem itself


@pytest.mark.parametrize(("m", "expected"), [(2, 2.6), (10, 12.7), (20, 18.7), (50, 25.2), (100, 28.3), (5000, 31.9)])
def test_the_plain_scale_of_the_unit_sphere_grows_with_the_count(m: int, expected: float) -> None:
    # The expected figures are of single draws; these are means of many.
    repeats = 1 if m == 5000 else 40
    labels = torch.arange(repeats).repeat_interleave(m)
    scales = semantic_scales(populations(64)["sphere"].sample(m, seed=m, repeats=repeats), labels, repeats)
    assert float(scales.mean()) == pytest.approx(expected, abs=0.25)


# --- subsets


@pytest.mark.parametrize("shape", [(12, 5), (12, 30), (2, 3)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_bits_of_subsets_are_those_of_the_rows(shape: tuple[int, int], scale: float) -> None:
    rows = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3.0
    subsets = torch.stack([torch.randperm(shape[0])[: max(2, shape[0] // 2)] for _ in range(4)])
    found = bits_of_subsets(coordinates(rows), subsets, shape[1])
    expected = [float(semantic_scales(rows[chosen], one_class(chosen), 1)) for chosen in subsets]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_coordinates_keep_all_distances() -> None:
    rows = torch.randn(6, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = coordinates(rows)
    assert points.shape == (6, 6)
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(rows, rows))


# --- matched


def test_matched_scales_are_means_over_subsets_of_one_size() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0] * 6 + [1] * 33 + [3])
    scales = matched_scales(features, labels, 4, size=6, repeats=3000)
    assert float(scales[0]) == pytest.approx(bits(features[:6]), rel=1e-12)
    draws = np.random.default_rng(0)
    naive = [bits(features[6:39][draws.permutation(33)[:6]]) for _ in range(3000)]
    assert float(scales[1]) == pytest.approx(np.mean(naive), abs=4 * np.std(naive) * math.sqrt(2 / 3000))
    assert scales[2:].isnan().all()


def test_matched_size_is_the_smallest_class_that_can_span_anything() -> None:
    assert matched_size([9, 1, 0, 4]) == 4
    with pytest.raises(ValueError, match="a class of at least 2 samples, but the largest has 1"):
        matched_size([1, 0])


def test_matching_takes_the_count_out() -> None:
    population = populations(64)["power law"]
    features = torch.cat([population.sample(20, 1), population.sample(2000, 2)])
    labels = torch.tensor([0] * 20 + [1] * 2000)
    plain, matched = semantic_scales(features, labels, 2), matched_scales(features, labels, 2)
    assert float(plain[1] - plain[0]) > 6.0
    assert abs(float(matched[1] - matched[0])) < 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 1}, "`size` to be at least 2, but got 1"), ({"repeats": 0}, "`repeats` to be at least 1, but got 0")],
)
def test_matched_scales_refuse_what_makes_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matched_scales(torch.ones(4, 2), torch.zeros(4).long(), 1, **options)


# --- shrunk


@pytest.mark.parametrize("shape", [(2, 5), (7, 5), (5, 30), (300, 12), (30, 30)])
@pytest.mark.parametrize("scale", [0.1, 30.0])
@pytest.mark.parametrize(("method", "reference"), [("oas", oas), ("ledoit_wolf", ledoit_wolf)])
def test_shrunk_scales_are_those_of_scikit_learn(shape: tuple, scale: float, method: str, reference: object) -> None:
    rows = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows *= torch.linspace(0.2, 2.0, shape[1])
    covariance, _ = reference(rows.numpy())
    dim = shape[1]
    expected = np.linalg.slogdet(np.eye(dim) + dim * covariance)[1] / 2 / math.log(2)
    # The classes around it must not matter.
    features = torch.cat([rows, torch.ones(1, dim), 9 * rows])
    labels = torch.tensor([1] * len(rows) + [2] + [3] * len(rows))
    scales = shrunk_scales(features, labels, 5, method)
    assert float(scales[1]) == pytest.approx(expected, rel=1e-9)
    assert float(scales[2]) == 0.0
    assert scales[[0, 4]].isnan().all()


@pytest.mark.parametrize("method", ["oas", "ledoit_wolf"])
def test_identical_rows_have_no_volume_however_shrunk(method: str) -> None:
    assert shrunk_scales(torch.full((6, 4), 3.7), torch.zeros(6).long(), 1, method).tolist() == [0.0]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="`method` to be one of"):
        shrunk_scales(torch.ones(2, 2), torch.zeros(2).long(), 1, "lasso")


# --- extrapolated


@pytest.mark.parametrize("name", [name for name in populations() if name not in ("heavy tails", "two clusters")])
@pytest.mark.parametrize("m", [30, 100, 500])
def test_extrapolation_finds_the_volume_of_the_population(name: str, m: int) -> None:
    population = populations(64)[name]
    features, labels = population.sample(m, seed=m, repeats=6), torch.arange(6).repeat_interleave(m)
    plain, found = semantic_scales(features, labels, 6), extrapolated_scales(features, labels, 6)
    error, before = abs(float(found.mean()) - population.bits), population.bits - float(plain.mean())
    assert error < max(0.25 * before, 0.02 * population.bits)
    assert before > 0


def test_extrapolation_says_why_it_gives_none() -> None:
    big = populations(64)["isotropic"]
    found = extrapolations(torch.cat([big.sample(4, 0), 100 * big.sample(12, 1)]), torch.tensor([0] * 4 + [1] * 12), 3)
    assert [math.isnan(entry.bits) for entry in found] == [True, True, True]
    assert found[0].reason == found[2].reason == "fewer than 8 samples"
    assert found[1].reason == "the limit is more than 3 times the measured value"
    assert len(found[1].sizes) == len(found[1].means) == len(found[1].fitted) > 3


def test_a_curve_of_another_shape_gives_no_limit() -> None:
    # One far outlier: S' of a subset is 0 bits nearly always, and then it is not.
    features = torch.zeros(400, 8, dtype=torch.float64)
    features[0] = 1e6
    (found,) = extrapolations(features, one_class(features), 1)
    assert math.isnan(found.bits)
    assert "misses the measured points by" in found.reason


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3, 1e100])
def test_extrapolation_stands_any_scale(scale: float) -> None:
    features = scale * populations(8)["isotropic"].sample(200, 0)
    (found,) = extrapolations(features, one_class(features), 1)
    assert found.bits == 0.0 if scale == 0.0 else math.isnan(found.bits) == bool(found.reason)
    if 1e-9 < scale < 1e4:
        expected = 0.5 * 8 * math.log2(1 + 8 * scale**2)
        assert found.bits == pytest.approx(expected, rel=0.1)


# --- all together


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), dim=st.integers(1, 12), log_scale=st.floats(-3, 3))
def test_rotation_translation_and_order_change_no_estimate_but_for_the_draws(
    seed: int, dim: int, log_scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = 10**log_scale * torch.randn(24, dim, generator=generator, dtype=torch.float64)
    labels = torch.arange(2).repeat_interleave(12)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q
    moved = features @ rotation + 10**log_scale
    before, after = controlled_scales(features, labels, 2), controlled_scales(moved, labels, 2)
    assert tuple(before) == CONTROLLED
    for name in CONTROLLED:
        assert after[name].tolist() == pytest.approx(before[name].tolist(), rel=1e-3, abs=1e-9, nan_ok=True)


def test_estimates_follow_the_seed() -> None:
    features = populations(8)["isotropic"].sample(50, 0)
    labels = torch.tensor([0] * 40 + [1] * 10)
    one, same, other = (controlled_scales(features, labels, 2, seed=seed) for seed in (0, 0, 1))
    for name in ("matched", "extrapolated"):
        assert one[name].equal(same[name])
        assert float(one[name][0]) != float(other[name][0])
