"""Intervals, paired tests and correlations against scipy and residuals; Holm by hand; coverage by simulation."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.statistics import (
    bonferroni,
    holm,
    mean_interval,
    paired_difference,
    pairs_needed,
    partial_pearson,
    partial_spearman,
    pearson,
    spearman,
    wilson_interval,
)

SETTINGS = settings(max_examples=40, deadline=None)


def sample(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_mean_interval_is_students(n: int, level: float) -> None:
    values = 70 + sample(n)
    interval = mean_interval(values.tolist(), level)
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.half_width == pytest.approx((high - low) / 2)
    assert interval.n == n


def test_one_value_has_a_mean_and_no_interval() -> None:
    assert mean_interval([3.5]) == (3.5, None, None, None, 1)


def test_a_mean_near_a_bound_has_an_interval_within_it() -> None:
    values = [0.0, 0.0, 0.0, 0.5, 0.0]
    free, bound = mean_interval(values), mean_interval(values, bounds=(0.0, 100.0))
    assert free.low < 0 < bound.low < bound.mean < bound.high < 100
    assert (bound.mean, bound.half_width) == (free.mean, free.half_width)
    share, error = 0.001, stats.sem(values) / 100
    logit = np.log(share / (1 - share)) + np.array([-1, 1]) * stats.t.ppf(0.975, 4) * error / (share * (1 - share))
    assert [bound.low, bound.high] == pytest.approx(list(100 / (1 + np.exp(-logit))), rel=1e-9)
    mirrored = mean_interval([100 - value for value in values], bounds=(0.0, 100.0))
    assert [mirrored.low, mirrored.high] == pytest.approx([100 - bound.high, 100 - bound.low], rel=1e-9)
    inside = [40.0, 50.0, 55.0]
    assert mean_interval(inside, bounds=(0.0, 100.0)) == mean_interval(inside)
    assert mean_interval([0.0, 0.0], bounds=(0.0, 1.0))[2:4] == (0.0, 0.0)
    with pytest.raises(ValueError, match="within 0 and 1, but got the mean"):
        mean_interval([1.0, 2.0], bounds=(0.0, 1.0))


@pytest.mark.parametrize(("a", "b"), [(0.5, 20.0), (2.0, 40.0), (8.0, 2.0)])
def test_bounded_intervals_cover_as_students_do(a: float, b: float) -> None:
    """Shares from a beta distribution: of five values, near a bound, where Student's interval leaves the bounds."""
    random, repeats, truth = np.random.default_rng(0), 1000, a / (a + b)
    covered = {None: 0, (0.0, 1.0): 0}
    for values in random.beta(a, b, (repeats, 5)).tolist():
        for bounds in covered:
            found = mean_interval(values, bounds=bounds)
            covered[bounds] += found.low <= truth <= found.high
    assert covered[0.0, 1.0] >= covered[None] - 0.01 * repeats
    assert covered[0.0, 1.0] >= 0.84 * repeats


def test_bonferronis_p_is_that_of_the_interval_of_its_level() -> None:
    p_values = [stats.ttest_1samp(sample(6, seed), 0.4 * seed).pvalue for seed in range(4)]
    for p, adjusted, seed in zip(p_values, bonferroni(p_values), range(4), strict=True):
        found = mean_interval((sample(6, seed) - 0.4 * seed).tolist(), 1 - 0.05 / 4)
        assert adjusted == pytest.approx(min(1.0, 4 * p))
        assert (adjusted < 0.05) == (not found.low <= 0 <= found.high)
    assert all(one >= other for one, other in zip(bonferroni(p_values), holm(p_values), strict=True))
    with pytest.raises(ValueError, match="Expected `p_values` in"):
        bonferroni([1.2])


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_mean_interval_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="`values` to be at least one finite number in a flat sequence"):
        mean_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_levels_outside_0_and_1_are_refused(level: float) -> None:
    text = re.escape(f"`level` to be in (0, 1), but got {level}")
    for call in (
        lambda: mean_interval([1.0, 2.0], level),
        lambda: paired_difference([1.0, 2.0], [0.0, 0.0], level),
        lambda: pearson([1.0, 2.0], [0.0, 1.0], level),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize("n", [2, 3, 6])
def test_paired_difference_is_the_paired_t_test(n: int) -> None:
    values, baseline = sample(n) + 0.5, sample(n, seed=1)
    result = paired_difference(values.tolist(), baseline.tolist())
    expected = stats.ttest_rel(values, baseline)
    interval = expected.confidence_interval(0.95)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.mean == pytest.approx((values - baseline).mean())
    assert result.half_width == pytest.approx((interval.high - interval.low) / 2)
    assert result.n == n


def test_pairing_removes_what_seeds_have_in_common() -> None:
    seeds = 10 * sample(6)
    gain = 0.5 + 0.1 * sample(6, seed=1)
    assert paired_difference((seeds + gain).tolist(), seeds.tolist()).p_value < 0.001
    assert stats.ttest_ind(seeds + gain, seeds).pvalue > 0.5


def test_differences_without_spread_and_single_pairs() -> None:
    assert paired_difference([1.0, 2.0], [1.0, 2.0]) == (0.0, 0.0, 0.0, 0.0, 1.0, 2)
    assert paired_difference([2.0, 3.0], [1.0, 2.0]).p_value == 0.0
    assert paired_difference([2.0], [0.5]) == (1.5, None, None, None, None, 1)


def test_paired_difference_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match="of one length, but got 3 and 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    "p_values, expected",
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6, 0.9], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(p_values: list[float], expected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(expected)


@SETTINGS
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    level = 0.05
    rejected, order = [False] * len(p_values), np.argsort(p_values, kind="stable")
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) > level:
            break
        rejected[index] = True
    assert [p <= level for p in holm(p_values)] == rejected


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=re.escape("`p_values` in [0, 1]")):
        holm([0.5, p])


@pytest.mark.parametrize("n", [4, 10, 100])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_pearson_is_scipys(n: int, level: float) -> None:
    x = sample(n)
    y = 0.5 * x + sample(n, seed=1)
    result, expected = pearson(x.tolist(), y.tolist(), level), stats.pearsonr(x, y)
    interval = expected.confidence_interval(level)
    assert result.value == pytest.approx(expected.statistic)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.n == n


@pytest.mark.parametrize("n", [4, 10, 100])
def test_spearman_is_scipys_with_the_interval_of_bonett_and_wright(n: int) -> None:
    x = np.round(2 * sample(n))  # ties
    y = 0.5 * x + sample(n, seed=1)
    result, value = spearman(x.tolist(), y.tolist()), stats.spearmanr(x, y).statistic
    reach = 1.959963984540054 * math.sqrt((1 + value**2 / 2) / (n - 3))
    assert result.value == pytest.approx(value)
    assert (result.low, result.high) == pytest.approx(
        (math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach))
    )


@pytest.mark.parametrize("correlate, truth", [(pearson, 0.6), (spearman, 6 / math.pi * math.asin(0.3))])
def test_intervals_cover_the_truth_as_often_as_they_say(correlate: object, truth: float) -> None:
    rng, covered, trials = np.random.default_rng(0), 0, 600
    for _ in range(trials):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        result = correlate(x.tolist(), y.tolist())
        covered += result.low <= truth <= result.high
    # 95 % with a standard error of 0.9 %
    assert 0.92 < covered / trials < 0.98


def test_spearman_sees_order_alone() -> None:
    x = sample(20)
    y = x + sample(20, seed=1)
    assert spearman(np.exp(5 * x).tolist(), y.tolist()) == pytest.approx(spearman(x.tolist(), y.tolist()))


@pytest.mark.parametrize("correlate", [pearson, spearman])
def test_pairs_with_a_gap_are_dropped(correlate: object) -> None:
    x, y = sample(8).tolist(), sample(8, seed=1).tolist()
    gaps = correlate([*x, math.nan, 1.0, None, 2.0], [*y, 1.0, math.inf, 3.0, math.nan])
    assert gaps == correlate(x, y)
    assert gaps.n == 8


@pytest.mark.parametrize("correlate", [pearson, spearman])
def test_what_is_undefined_is_none(correlate: object) -> None:
    assert correlate([], []) == (None, None, None, 0)
    assert correlate([1.0, 2.0], [1.0, 2.0]) == (None, None, None, 2)
    assert correlate([1.0, 2.0, 3.0, 4.0], [0.1] * 4) == (None, None, None, 4)
    assert correlate([0.1] * 7, [0.1 * i for i in range(7)]) == (None, None, None, 7)  # 0.1 has no exact mean
    three = correlate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert three.value == pytest.approx(0.5)
    assert (three.low, three.high) == (None, None)


@pytest.mark.parametrize("correlate", [pearson, spearman])
@pytest.mark.parametrize("slope", [2.0, -0.1, 1e200, -1e-200])
def test_a_line_is_perfectly_correlated(correlate: object, slope: float) -> None:
    x = [0.3, 1.1, 1.9, 7.7, 9.2]
    result = correlate(x, [slope * value for value in x])
    assert result.value == pytest.approx(math.copysign(1.0, slope))
    assert result.low == pytest.approx(result.high, abs=1e-6)


def test_correlations_refuse_other_lengths() -> None:
    with pytest.raises(ValueError, match="`x` and `y` of one length, but got 3 and 2"):
        pearson([1.0, 2.0, 3.0], [1.0, 2.0])


def residuals(values: np.ndarray, given_values: np.ndarray) -> np.ndarray:
    design = np.stack([np.ones_like(given_values), given_values], axis=1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


@SETTINGS
@given(n=st.integers(5, 40), seed=st.integers(0, 1000))
def test_a_partial_correlation_is_that_of_residuals(n: int, seed: int) -> None:
    x, y, z = np.random.default_rng(seed).standard_normal((3, n)) @ np.triu(np.ones((n, n)))
    expected = np.corrcoef(residuals(x, z), residuals(y, z))[0, 1]
    assert partial_pearson(x, y, z) == pytest.approx(expected, abs=1e-6)
    ranks = [stats.rankdata(part).astype(float) for part in (x, y, z)]
    expected = partial_pearson(*ranks)
    assert partial_spearman(x, y, z) == (None if expected is None else pytest.approx(expected, abs=1e-9))
    assert partial_spearman(x, y, np.exp(z)) == partial_spearman(x, y, z)


def test_a_common_cause_explains_a_correlation_away() -> None:
    cause, one, other = np.random.default_rng(0).standard_normal((3, 4000))
    x, y = cause + one, cause + other
    assert np.corrcoef(x, y)[0, 1] > 0.4
    assert abs(partial_pearson(x, y, cause)) < 0.05
    assert abs(partial_spearman(x, y, cause)) < 0.1


def test_an_undefined_partial_correlation_is_none() -> None:
    x, y = [1.0, 3.0, 2.0, 5.0, 4.0], [2.0, 1.0, 3.0, 5.0, 4.0]
    assert partial_pearson(x, y, [2 * value for value in x]) is None
    assert partial_spearman(x, y, [value**3 for value in y]) is None
    assert partial_pearson(x, [1.0] * 5, y) is None
    assert partial_pearson(x[:3], y[:3], [1.0, 2.0, 4.0]) is None
    assert partial_pearson(x, y, [math.nan, math.nan, 1.0, 2.0, 3.0]) is None


def test_triples_with_gaps_are_left_out() -> None:
    x, y, z = np.random.default_rng(0).standard_normal((3, 9)).tolist()
    assert partial_pearson([*x, None], [*y, 1.0], [*z, 2.0]) == partial_pearson(x, y, z)


def test_partial_correlations_refuse_other_lengths() -> None:
    with pytest.raises(ValueError, match="of one length"):
        partial_pearson([1.0], [1.0, 2.0], [1.0])


@SETTINGS
@given(st.integers(1, 200), st.data())
def test_wilsons_interval_is_scipys(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    expected = stats.binomtest(successes, total).proportion_ci(0.9, method="wilson")
    assert wilson_interval(successes, total, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "total", "level"), [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 5, 1.0)])
def test_wilsons_interval_refuses_what_is_no_proportion(successes: int, total: int, level: float) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, total, level)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_needed_are_those_of_power_tables(effect: float, pairs: int) -> None:
    assert pairs_needed(1.0, effect) == pairs
    assert pairs_needed(3.0, -3.0 * effect) == pairs


def test_pairs_needed_find_the_difference_as_often_as_asked() -> None:
    pairs = pairs_needed(1.5, 1.0, power=0.9)
    assert pairs is not None
    draws = np.random.default_rng(0).normal(1.0, 1.5, (20_000, pairs))
    found = (stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean()
    fewer = (stats.ttest_1samp(draws[:, :-1], 0.0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.907, abs=0.012)
    assert fewer < found


def test_pairs_needed_at_the_ends() -> None:
    assert pairs_needed(0.0, 0.1) == 2
    assert pairs_needed(1e-9, 1.0) == 2
    assert pairs_needed(1.0, 1e-4) is None
    with pytest.raises(ValueError, match="a `difference` other than 0"):
        pairs_needed(1.0, 0.0)
