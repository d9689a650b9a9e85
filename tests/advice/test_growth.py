"""The growth curve: its shape, its recovery from its own values, and what it predicts for samples it has not seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.advice.growth import Growth, fit_curve, fit_growth, last_increment, scales_of_orders
from semscale_pl.geometry.volumes import semantic_scale

halves, ceilings = st.floats(0.5, 1e4), st.floats(0.1, 1e4)
curves = st.builds(Growth, ceilings, halves, st.floats(0.15, 2.0))
concave_curves = st.builds(Growth, ceilings, halves, st.floats(0.15, 1.0))


@given(concave_curves, st.integers(1, 10_000), st.integers(1, 500))
def test_curves_rise_ever_more_slowly_from_zero(growth: Growth, count: int, batch: int) -> None:
    assert growth.bits(1) == 0.0
    assert growth.bits(count) < growth.bits(count + batch) <= growth.ceiling * (1 + 1e-12)
    assert growth.gain(count + batch, batch, False) <= growth.gain(count, batch, False) * (1 + 1e-6) + 1e-9


@given(curves, st.integers(2, 10_000), st.integers(1, 500))
def test_the_share_that_a_batch_adds_always_falls(growth: Growth, count: int, batch: int) -> None:
    assert growth.gain(count + 1, batch) <= growth.gain(count, batch) * (1 + 1e-6) + 1e-9


@given(curves, st.integers(1, 200), st.floats(1e-3, 0.5))
def test_enough_is_where_a_batch_first_adds_less(growth: Growth, batch: int, threshold: float) -> None:
    enough = growth.enough(batch, threshold)
    assert enough is not None
    assert growth.gain(enough, batch) < threshold
    assert enough == 2 or growth.gain(enough - 1, batch) >= threshold


def test_growth_without_an_end_is_never_enough() -> None:
    assert Growth(1e4, 1e10, 0.15).enough(100, 1e-9) is None


@pytest.mark.parametrize(
    "truth", [Growth(30.0, 14.0, 1.0), Growth(140.0, 40.0, 0.9), Growth(50.0, 100.0, 0.5), Growth(30.0, 20.0, 1.6)]
)
def test_a_curve_is_found_again_from_its_own_values(truth: Growth) -> None:
    sizes = [2, 4, 8, 16, 32, 64, 128, 256]
    found = fit_curve(sizes, [truth.bits(size) for size in sizes])
    assert found is not None
    assert found.bits(1000) == pytest.approx(truth.bits(1000), rel=1e-3)
    assert found == pytest.approx(truth, rel=0.02)


def test_the_volume_of_many_is_predicted_from_few() -> None:
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, 65, dtype=torch.float64).pow(-0.5)
    samples = torch.randn(3000, 64, generator=generator, dtype=torch.float64) * spectrum
    growth = fit_growth(samples[:150])
    assert growth is not None
    assert growth.bits(3000) == pytest.approx(float(semantic_scale(samples)), rel=0.08)


@pytest.mark.parametrize("samples", [torch.randn(5, 3), torch.ones(30, 3)])
def test_too_few_or_identical_samples_have_no_curve(samples: torch.Tensor) -> None:
    assert fit_growth(samples) is None


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="`orders` to be at least 1"):
        fit_growth(torch.randn(10, 2), orders=0)


# The increment of the last batch against a numpy loop and against all possible last samples.
def cloud(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scale(samples: np.ndarray) -> float:
    centred = samples - samples.mean(0)
    gram = np.eye(samples.shape[1]) + samples.shape[1] / len(samples) * centred.T @ centred
    return 0.5 * float(np.linalg.slogdet(gram)[1]) / math.log(2.0)


def test_with_one_sample_at_a_time_all_orders_are_leave_one_out() -> None:
    samples = cloud(7, 3)
    full = scale(samples.numpy())
    others = [scale(np.delete(samples.numpy(), row, axis=0)) for row in range(7)]
    values = [(full - other) / other for other in others]
    found = last_increment(samples, 1, orders=400, level=0.999)
    assert found.low == pytest.approx(min(values), rel=1e-9)
    assert found.high == pytest.approx(max(values), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(values), abs=4 * np.std(values) / math.sqrt(400))


def test_orders_are_nested_and_end_at_the_whole_class() -> None:
    samples = cloud(12, 4)
    scales = scales_of_orders(samples, [1, 5, 12], 6, seed=3)
    assert scales.shape == (3, 6)
    assert scales[0].tolist() == [0.0] * 6
    assert scales[2].tolist() == pytest.approx([scale(samples.numpy())] * 6)
    assert scales_of_orders(samples, [5], 6, seed=3)[0].tolist() == scales[1].tolist()
    assert len(set(scales[1].tolist())) == 6


def test_a_class_in_blocks_is_the_class_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = cloud(12, 4)
    whole = scales_of_orders(samples, [5, 9], 6)
    monkeypatch.setattr("semscale_pl.advice.growth._ELEMENTS", 40)
    assert scales_of_orders(samples, [5, 9], 6).flatten().tolist() == pytest.approx(whole.flatten().tolist())


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (5, 5), (6, 5), (3, 10)])
def test_too_few_samples_have_no_increment(rows: int, batch: int) -> None:
    assert all(math.isnan(value) for value in last_increment(cloud(rows, 2), batch))


def test_identical_samples_have_no_increment() -> None:
    assert math.isnan(last_increment(torch.ones(20, 3), 5).mean)


def test_wrong_numbers_of_increments_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `batch` to be at least 1, but got 0"):
        last_increment(cloud(5, 2), 0)
    with pytest.raises(ValueError, match="Expected `orders` to be at least 1, but got 0"):
        last_increment(cloud(5, 2), 1, orders=0)
    with pytest.raises(ValueError, match="Expected `level`"):
        last_increment(cloud(5, 2), 1, level=1.0)
    with pytest.raises(ValueError, match="to be finite"):
        last_increment(torch.tensor([[math.nan], [1.0]]), 1)
