"""Statistics of results: means, paired differences, proportions and correlations, with intervals; adjusted p-values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from semscale_pl.options import check

# A quantity that follows the third this closely has nothing left to correlate.
_DETERMINED = 1.0 - 1e-6
_MOST_PAIRS = 10**6


class Interval(NamedTuple):
    """The mean of n values with its Student interval; its half width and bounds are None for fewer than two values."""

    mean: float
    half_width: float | None
    low: float | None
    high: float | None
    n: int


class PairedDifference(NamedTuple):
    """A mean difference over n pairs with its Student interval; what one pair leaves open is None.

    The p-value is the two-sided one of the paired t-test.
    """

    mean: float
    half_width: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int


class Correlation(NamedTuple):
    """A correlation coefficient of n finite pairs with its interval.

    The coefficient is None for a constant input or fewer than three pairs, the bounds for fewer than four.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float], level: float = 0.95, bounds: tuple[float, float] | None = None) -> Interval:
    """Return the mean of independent values, such as one a seed, with its Student interval.

    Args:
        values: at least one.
        level: of the interval.
        bounds: of what no mean can leave, such as an accuracy in percent 0 and 100. Where Student's interval would, it
            is taken on the logit scale (delta method) and stays within; ``half_width`` remains Student's.

    Raises:
        ValueError: no values, values that are not finite or out of bounds, or a level outside (0, 1).

    Example:
        >>> interval = mean_interval([1.0, 2.0, 3.0])
        >>> round(interval.mean, 3), round(interval.half_width, 3)
        (2.0, 2.484)
    """
    check(level=level)
    array = _finite(values, "values")
    count, mean = len(array), float(array.mean())
    if count < 2:
        return Interval(mean, None, None, None, count)
    half_width = float(stats.t.ppf(0.5 + level / 2.0, count - 1) * array.std(ddof=1) / math.sqrt(count))
    low, high = mean - half_width, mean + half_width
    if bounds is not None and (low < bounds[0] or high > bounds[1]):
        low, high = _within(mean, half_width, bounds)
    return Interval(mean, half_width, low, high, count)


def paired_difference(values: Sequence[float], baseline: Sequence[float], level: float = 0.95) -> PairedDifference:
    """Return the mean difference, value minus baseline, of two methods with results for the same seeds in one order.

    Equal differences in all pairs have p = 0, or p = 1 where they are all 0.

    Raises:
        ValueError: different lengths, no pairs, or values that are not finite.

    Example:
        >>> difference = paired_difference([2.0, 3.0, 5.0], [1.0, 1.0, 2.0])
        >>> round(difference.mean, 3), round(difference.p_value, 4)
        (2.0, 0.0742)
    """
    first, second = _finite(values, "values"), _finite(baseline, "baseline")
    _check_lengths(values=first, baseline=second)
    mean, half_width, low, high, count = mean_interval((first - second).tolist(), level)
    if half_width is None:
        p_value = None
    elif half_width == 0.0:
        p_value = 1.0 if mean == 0.0 else 0.0
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nearly equal differences are what they are
            p_value = float(stats.ttest_rel(first, second).pvalue)
    return PairedDifference(mean, half_width, low, high, p_value, count)


def pairs_needed(deviation: float, difference: float, power: float = 0.8, level: float = 0.95) -> int | None:
    """Return how many pairs a two-sided paired t-test needs to find a true mean difference.

    Args:
        deviation: standard deviation of the differences between the two of a pair.
        difference: other than 0, in the same unit.
        power: probability that the difference is found, in (0, 1).
        level: 1 less the probability that one is found where there is none.

    Returns:
        The least number of pairs, at least 2; None where more than a million are needed.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> pairs_needed(deviation=2.0, difference=1.0)
        34

    Reference: Cohen, Statistical Power Analysis (1988), section 2; exact, by the noncentral t distribution.
    """
    check(level=level)
    if not (deviation >= 0.0 and math.isfinite(deviation) and difference != 0.0 and 0.0 < power < 1.0):
        raise ValueError(
            "Expected a `deviation` of at least 0, a `difference` other than 0 and a `power` in (0, 1), but got "
            f"{deviation}, {difference} and {power}."
        )
    effect = math.inf if deviation == 0.0 else abs(difference) / deviation
    low, high = 1, 2
    while _power(effect, high, level) < power:
        low, high = high, 2 * high
        if low > _MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle, level) >= power else (middle, high)
    return high if high <= _MOST_PAIRS else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family of tests so that the chance of any false discovery keeps its level.

    Raises:
        ValueError: a p-value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Reference: Holm (Scandinavian Journal of Statistics 1979).
    """
    _check_p_values(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        # An adjusted value is never below that of a smaller p.
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = largest
    return adjusted


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family of tests as its simultaneous intervals are, each of level 1 - 5 % / their number.

    An adjusted p is below 5 % exactly where that interval leaves out 0. Holm's p can be below where it does not: no
    interval of one comparison can be narrower for what the others show and still cover with all of them.

    Raises:
        ValueError: a p-value outside [0, 1].

    Example:
        >>> bonferroni([0.01, 0.04, 0.5])
        [0.03, 0.12, 1.0]

    Reference: Dunn (Journal of the American Statistical Association 1961).
    """
    _check_p_values(p_values)
    return [min(1.0, len(p_values) * float(p_value)) for p_value in p_values]


def pearson(x: Sequence[float | None], y: Sequence[float | None], level: float = 0.95) -> Correlation:
    """Return Pearson's correlation with Fisher's interval; pairs with None, NaN or infinity are dropped.

    Raises:
        ValueError: different lengths, or a level outside (0, 1).

    Example:
        >>> pearson([1, 2, 3], [5, 5, 5]).value is None
        True
    """
    first, second = _complete(x=x, y=y)
    return _correlation(first, second, level, lambda value: 1.0)


def spearman(x: Sequence[float | None], y: Sequence[float | None], level: float = 0.95) -> Correlation:
    """Return Spearman's rank correlation with the interval of Bonett and Wright, otherwise as :func:`pearson`.

    Example:
        >>> round(spearman([1, 2, 3, 4], [1, 4, 9, 16]).value, 6)
        1.0

    Reference: Bonett and Wright (Psychometrika 2000), eq. 5.
    """
    first, second = (stats.rankdata(part) for part in _complete(x=x, y=y))
    return _correlation(first, second, level, lambda value: 1.0 + value * value / 2.0)


def partial_pearson(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float | None:
    """Return Pearson's correlation of what a linear function of ``given`` leaves of x and of y.

    Returns:
        A coefficient in [-1, 1]; None where it is undefined: fewer than 4 finite triples, a constant, or an x or y that
        is a linear function of ``given``.

    Raises:
        ValueError: different lengths.

    Example:
        >>> round(partial_pearson([1, 2, 4, 3], [3, 1, 2, 4], [1, 2, 3, 4]), 2)
        -0.58
    """
    return _partial(pearson, x, y, given)


def partial_spearman(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float | None:
    """Return the partial correlation of the ranks, see :func:`partial_pearson`.

    Example:
        >>> partial_spearman([1, 2, 3, 4], [3, 1, 2, 4], [1, 4, 9, 16]) is None  # x is a function of what is given
        True
    """
    return _partial(spearman, x, y, given)


def wilson_interval(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(5, 10)]
        [0.237, 0.763]

    Reference: Wilson (Journal of the American Statistical Association 1927).
    """
    if not 0 <= successes <= total or total < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"Expected 0 <= successes <= total, a total of at least 1 and a level in (0, 1), but got {successes}, "
            f"{total} and {level}."
        )
    low, high = stats.binomtest(successes, total).proportion_ci(level, method="wilson")
    return float(low), float(high)


def _within(mean: float, half_width: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of a mean inside bounds, symmetric on the logit scale."""
    least, size = bounds[0], bounds[1] - bounds[0]
    share = (mean - least) / size
    if not -1e-12 <= share <= 1.0 + 1e-12:
        raise ValueError(f"Expected values within {bounds[0]:g} and {bounds[1]:g}, but got the mean {mean:g}.")
    if not 0.0 < share < 1.0:
        return mean, mean
    place, reach = math.log(share / (1.0 - share)), half_width / size / (share * (1.0 - share))
    low, high = special.expit([place - reach, place + reach])
    return least + size * float(low), least + size * float(high)


def _power(effect: float, pairs: int, level: float) -> float:
    """Return the power of the paired t-test for a mean difference of so many standard deviations."""
    shift, freedom = effect * math.sqrt(pairs), pairs - 1
    bound = stats.t.ppf(0.5 + level / 2.0, freedom)
    if shift > 2.0 * bound + 20.0:  # beyond what the noncentral distribution is computed for, and as good as certain
        return 1.0
    return float(stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift))


def _correlation(x: np.ndarray, y: np.ndarray, level: float, variance: Callable[[float], float]) -> Correlation:
    """Correlate; ``variance`` is that of atanh(r) times n - 3, given r."""
    check(level=level)
    count = len(x)
    if count < 3:
        return Correlation(None, None, None, count)
    x, y = _unit_deviation(x), _unit_deviation(y)
    if not (x.any() and y.any()):
        return Correlation(None, None, None, count)
    value = float(np.clip(x @ y, -1.0, 1.0))
    if count < 4:
        return Correlation(value, None, None, count)
    if abs(value) == 1.0:
        return Correlation(value, value, value, count)
    reach = float(stats.norm.ppf(0.5 + level / 2.0)) * math.sqrt(variance(value) / (count - 3))
    return Correlation(value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach), count)


def _unit_deviation(values: np.ndarray) -> np.ndarray:
    """Return the deviations from the mean, of length 1; zeros where they are no more than rounding."""
    deviations = values - values.mean()
    largest = np.abs(deviations).max()
    if largest <= 1e-13 * np.abs(values).max():
        return np.zeros_like(deviations)
    return deviations / largest / np.linalg.norm(deviations / largest)


def _check_p_values(p_values: Sequence[float]) -> None:
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise ValueError(f"Expected `p_values` in [0, 1], but got {list(p_values)}.")


def _finite(values: Sequence[float], name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"Expected `{name}` to be at least one finite number in a flat sequence, but got {values!r}.")
    return array


def _partial(
    correlate: Callable[..., Correlation], x: Sequence[float], y: Sequence[float], given: Sequence[float]
) -> float | None:
    x, y, given = (column.tolist() for column in _complete(x=x, y=y, given=given))
    if len(x) < 4:
        return None
    direct, first, second = (correlate(*pair).value for pair in ((x, y), (x, given), (y, given)))
    if direct is None or first is None or second is None or max(abs(first), abs(second)) > _DETERMINED:
        return None
    value = (direct - first * second) / math.sqrt((1.0 - first**2) * (1.0 - second**2))
    return min(1.0, max(-1.0, value))


def _complete(**columns: Sequence[float | None]) -> list[np.ndarray]:
    """Return the columns without the rows in which one is missing (None), NaN or infinite."""
    _check_lengths(**columns)
    table = np.array([[math.nan if value is None else value for value in column] for column in columns.values()], float)
    return list(table[:, np.isfinite(table).all(axis=0)])


def _check_lengths(**columns: Sequence[float | None] | np.ndarray) -> None:
    lengths = [len(column) for column in columns.values()]
    if len(set(lengths)) > 1:
        *names, last = (f"`{name}`" for name in columns)
        found = ", ".join(map(str, lengths[:-1]))
        raise ValueError(f"Expected {', '.join(names)} and {last} of one length, but got {found} and {lengths[-1]}.")
