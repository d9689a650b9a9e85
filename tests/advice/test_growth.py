"""The growth curve: its shape, its recovery from its own values, and what it predicts for samples it has not seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.advice.growth import Growth, fit_curve, fit_growth
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
