"""Long-tail profiles by their published totals, effective numbers by their sum, and the weight policy line by line."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semscale_pl.imbalance import (
    class_balanced_weights,
    effective_numbers,
    inverse_weights,
    long_tail_counts,
    normalize_weights,
    scales_to_weights,
    sqrt_inverse_weights,
    weigh_scales,
    weights_of_scales,
)

SETTINGS = settings(max_examples=50, deadline=None)
NAN = math.nan


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    "size, num_classes, factor, total",
    [
        (5000, 10, 100, 12_406),
        (5000, 10, 50, 13_996),
        (5000, 10, 10, 20_431),
        (500, 100, 100, 10_847),
        (500, 100, 50, 12_608),
        (500, 100, 10, 19_573),
        (5000, 10, 200, 11_203),
        (500, 100, 200, 9_502),
    ],
)
def test_exponential_profile_has_the_published_totals(size: int, num_classes: int, factor: float, total: int) -> None:
    counts = long_tail_counts([size] * num_classes, factor)
    assert sum(counts) == total
    assert counts[0] == size
    assert counts[-1] == size // factor
    assert counts == sorted(counts, reverse=True)


def test_exponential_profile_applies_to_each_class_of_its_own_size() -> None:
    assert long_tail_counts([60, 30, 600], 100.0) == [60, 3, 6]


def test_profiles_keep_at_least_one_image_and_never_more_than_there_are() -> None:
    assert long_tail_counts([10, 10, 10], 1000.0) == [10, 1, 1]
    assert long_tail_counts([7], 50.0) == [7]
    assert long_tail_counts([5, 0, 5], 1.0) == [5, 0, 5]


@pytest.mark.parametrize("num_classes, expected", [(4, [50, 50, 5, 5]), (5, [50, 50, 50, 5, 5])])
def test_step_profile(num_classes: int, expected: list[int]) -> None:
    assert long_tail_counts([50] * num_classes, 10.0, "step") == expected


def test_no_profile_keeps_everything() -> None:
    assert long_tail_counts([3, 9, 4], 1.0, "none") == [3, 9, 4]


@pytest.mark.parametrize(
    "factor, profile, text",
    [
        (0.5, "exponential", "`imbalance_factor` to be a number of at least 1, but got 0.5"),
        (NAN, "step", "`imbalance_factor` to be a number of at least 1, but got nan"),
        (10.0, "none", "`imbalance_factor` 1 with imbalance none, but got 10.0"),
        (10.0, "linear", "to be one of none, exponential, step, but got 'linear'"),
    ],
)
def test_profiles_refuse_what_makes_no_sense(factor: float, profile: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        long_tail_counts([5, 5], factor, profile)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.9, 0.999])
def test_effective_numbers_are_a_geometric_sum(beta: float) -> None:
    counts = [1, 2, 7, 300]
    expected = [sum(beta**power for power in range(n)) for n in counts]
    assert effective_numbers(torch.tensor(counts), beta).tolist() == pytest.approx(expected, rel=1e-10)


def test_effective_numbers_have_their_limits() -> None:
    counts = torch.tensor([1, 10, 1000])
    assert effective_numbers(counts, 1.0).tolist() == [1.0, 10.0, 1000.0]
    assert effective_numbers(counts, 1 - 1e-13).tolist() == pytest.approx([1.0, 10.0, 1000.0], rel=1e-3)
    volume = 50.0  # E_n tends to N for beta = (N - 1) / N
    assert float(effective_numbers(torch.tensor([100_000]), (volume - 1) / volume)) == pytest.approx(volume)
    with pytest.raises(ValueError, match=re.escape("`beta` to be in [0, 1], but got 1.5")):
        effective_numbers(counts, 1.5)


@pytest.mark.parametrize("beta, spread", [(0.9, 2.44), (0.99, 20.3), (0.999, 78.9), (0.9999, 97.6)])
def test_class_balanced_weights_spread_as_known_on_cifar_100(beta: float, spread: float) -> None:
    weights = class_balanced_weights(torch.tensor([500, 5]), beta)
    assert float(weights[1] / weights[0]) == pytest.approx(spread, rel=5e-3)


def test_count_weights_and_absent_classes() -> None:
    counts = torch.tensor([4, 0, 100])
    assert inverse_weights(counts).tolist() == pytest.approx([0.25, NAN, 0.01], nan_ok=True)
    assert sqrt_inverse_weights(counts).tolist() == pytest.approx([0.5, NAN, 0.1], nan_ok=True)
    assert class_balanced_weights(counts, 0.0).tolist() == pytest.approx([1.0, NAN, 1.0], nan_ok=True)


def test_normalizations_hold_what_they_fix() -> None:
    weights, counts = tensor(1.0, 3.0, NAN, 8.0), torch.tensor([60, 30, 0, 10])
    by_sample = normalize_weights(weights, counts, "sample")
    assert float((counts / 100 * by_sample).sum()) == pytest.approx(1.0)
    by_class = normalize_weights(weights, counts, "class")
    assert float(by_class[[0, 1, 3]].mean()) == pytest.approx(1.0)
    raw = normalize_weights(weights, counts, "none")
    assert raw[[0, 1, 3]].tolist() == [1.0, 3.0, 8.0]
    for result in (by_sample, by_class, raw):
        assert result.dtype == torch.float64
        assert float(result[2]) == pytest.approx(float(result[[0, 1, 3]].mean()))
        assert (result / result[0])[[0, 1, 3]].tolist() == pytest.approx([1.0, 3.0, 8.0])


def test_counts_and_probabilities_are_the_same_frequencies() -> None:
    weights, counts = tensor(1.0, 3.0, 2.0), tensor(60.0, 30.0, 10.0)
    torch.testing.assert_close(normalize_weights(weights, counts), normalize_weights(weights, counts / 100.0))


def test_a_class_that_is_never_drawn_is_absent() -> None:
    result = normalize_weights(tensor(1.0, 50.0, 3.0), tensor(1.0, 0.0, 1.0))
    assert result.tolist() == pytest.approx([0.5, 1.0, 1.5])
    scales = weigh_scales(tensor(1.0, 100.0, 0.5), tensor(1.0, 0.0, 1.0), "none")
    assert scales.weights.tolist() == pytest.approx([1.0, 1.5, 2.0])  # its 100 bits floor nothing
    assert scales.num_floored == 0


@pytest.mark.parametrize("normalization", ["sample", "class", "none"])
def test_nothing_known_is_uniform(normalization: str) -> None:
    assert scales_to_weights(tensor(NAN, NAN), tensor(1.0, 1.0), normalization).tolist() == [1.0, 1.0]
    assert scales_to_weights(tensor(1.0, 2.0), tensor(0.0, 0.0), normalization).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("normalization", ["sample", "class", "none"])
def test_all_scales_0_are_uniform(normalization: str) -> None:
    result = weigh_scales(tensor(0.0, NAN, 0.0), tensor(9.0, 0.0, 1.0), normalization)
    assert result.weights.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert (result.num_floored, result.num_capped) == (0, 0)


def test_weights_are_inverse_powers() -> None:
    scales = tensor(8.0, 4.0, 2.0)
    frequencies = torch.ones(3)
    for power in (0.0, 0.5, 1.0, 2.0):
        result = scales_to_weights(scales, frequencies, "none", power=power)
        assert result.tolist() == pytest.approx([scale**-power for scale in (8.0, 4.0, 2.0)])


def test_floor_then_power_then_cap() -> None:
    # Floor 0.1 raises 0 and 0.5 to 1.0; squares: 0.01, 1/25, 1, 1; the cap at 50 times the smallest: 0.5.
    result = weigh_scales(tensor(10.0, 5.0, 0.0, 0.5), torch.ones(4), "none", power=2.0, floor=0.1, max_ratio=50.0)
    assert result.weights.tolist() == pytest.approx([0.01, 0.04, 0.5, 0.5])
    assert (result.num_floored, result.num_capped) == (2, 2)


def test_a_weight_at_the_cap_or_a_scale_at_the_floor_is_not_counted() -> None:
    result = weigh_scales(tensor(1.0, 0.25), torch.ones(2), "none", floor=0.25, max_ratio=4.0)
    assert result.weights.tolist() == pytest.approx([1.0, 4.0])
    assert (result.num_floored, result.num_capped) == (0, 0)


def test_absent_classes_neither_floor_nor_cap() -> None:
    result = weigh_scales(tensor(NAN, 1.0, 0.5), tensor(0.2, 0.4, 0.4), "none", floor=0.9)
    assert result.weights.tolist() == pytest.approx([(1 + 1 / 0.9) / 2, 1.0, 1 / 0.9])
    assert (result.num_floored, result.num_capped) == (1, 0)


@pytest.mark.parametrize("normalization", ["sample", "class"])
def test_high_powers_of_tiny_scales_do_not_overflow(normalization: str) -> None:
    scales = tensor(2e-100, 1e-100)
    result = scales_to_weights(scales, torch.ones(2), normalization, power=4.0)
    assert result.tolist() == pytest.approx([2 / 17, 32 / 17])


@SETTINGS
@given(
    scales=st.lists(st.one_of(st.just(NAN), st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=12),
    power=st.floats(0.0, 4.0),
    floor=st.floats(1e-3, 1.0),
    max_ratio=st.floats(1.0, 1e3),
    seed=st.integers(0, 1000),
)
def test_weights_keep_every_promise(
    scales: list[float], power: float, floor: float, max_ratio: float, seed: int
) -> None:
    values = tensor(*scales)
    frequencies = torch.rand(len(scales), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    known = ~values.isnan()
    weights = scales_to_weights(values, frequencies, "sample", power, floor, max_ratio)
    assert weights.isfinite().all()
    assert (weights > 0).all()
    if not known.any():
        return
    shares = frequencies[known] / frequencies[known].sum()
    assert float((shares * weights[known]).sum()) == pytest.approx(1.0)
    assert float(weights[known].max() / weights[known].min()) <= max_ratio * (1 + 1e-9)
    # The smaller the scale, the larger (or as large) the weight.
    order = values[known].argsort()
    assert (weights[known][order].diff() <= 1e-9 * weights.max()).all()
    by_class = scales_to_weights(values, frequencies, "class", power, floor, max_ratio)
    assert float(by_class[known].mean()) == pytest.approx(1.0)
    torch.testing.assert_close(by_class / by_class.sum(), weights / weights.sum())
    # Classes have no order.
    shuffle = torch.randperm(len(scales), generator=torch.Generator().manual_seed(seed))
    shuffled = scales_to_weights(values[shuffle], frequencies[shuffle], "sample", power, floor, max_ratio)
    torch.testing.assert_close(shuffled, weights[shuffle])


@pytest.mark.parametrize(
    "scales, options, text",
    [
        ([1.0, -1.0], {}, "but got 1 others, the first for class 1"),
        ([math.inf, 1.0], {}, "but got 1 others, the first for class 0"),
        ([1.0], {}, "but got (1,) and (2,)"),
        ([[1.0, 2.0]], {}, "`scales` of shape (C,), but got (1, 2)"),
        ([], {}, "`scales` of shape (C,), but got (0,)"),
        ([1.0, 2.0], {"power": -1.0}, "`power` to be a number of at least 0, but got -1.0"),
        ([1.0, 2.0], {"floor": 0.0}, "`floor` to be in (0, 1], but got 0.0"),
        ([1.0, 2.0], {"max_ratio": 0.5}, "`max_ratio` to be a number of at least 1, but got 0.5"),
        ([1.0, 2.0], {"normalization": "batch"}, "one of sample, class, none, but got 'batch'"),
    ],
)
def test_weights_refuse_what_makes_no_sense(scales: list[float], options: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        scales_to_weights(torch.tensor(scales), torch.ones(2), **options)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.3])
@pytest.mark.parametrize("normalization", ["sample", "class", "none"])
def test_weights_in_few_operations_are_those_written_out(power: float, normalization: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for num_classes in (1, 3, 100):
        scales = 9.0 * torch.rand(num_classes, generator=generator, dtype=torch.float64)
        frequencies = torch.rand(num_classes, generator=generator, dtype=torch.float64)
        scales[1::7], frequencies[2::9], scales[3::5] = NAN, 0.0, 0.0
        drawn = [n for n in range(num_classes) if not scales[n].isnan() and frequencies[n] > 0]
        largest = max(float(scales[n]) for n in drawn)
        raw = {n: max(float(scales[n]) / largest, 0.05) ** -power for n in drawn}
        cap = 30.0 * min(raw.values())
        raw = {n: min(value, cap) for n, value in raw.items()}
        factor = {
            "sample": sum(float(frequencies[n]) for n in drawn) / sum(float(frequencies[n]) * raw[n] for n in drawn),
            "class": len(drawn) / sum(raw.values()),
            "none": largest**-power,
        }[normalization]
        mean = sum(raw.values()) / len(drawn)
        expected = [factor * raw.get(n, mean) for n in range(num_classes)]
        found = weights_of_scales(scales, frequencies, normalization, power, 0.05, 30.0)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0.0)
