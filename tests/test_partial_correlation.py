from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.statistics import partial_pearson, partial_spearman


def residuals(values: np.ndarray, given_values: np.ndarray) -> np.ndarray:
    design = np.stack([np.ones_like(given_values), given_values], axis=1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 1000))
def test_it_is_the_correlation_of_residuals(n: int, seed: int) -> None:
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


def test_what_cannot_be_told_is_none() -> None:
    x, y = [1.0, 3.0, 2.0, 5.0, 4.0], [2.0, 1.0, 3.0, 5.0, 4.0]
    assert partial_pearson(x, y, [2 * value for value in x]) is None
    assert partial_spearman(x, y, [value**3 for value in y]) is None
    assert partial_pearson(x, [1.0] * 5, y) is None
    assert partial_pearson(x[:3], y[:3], [1.0, 2.0, 4.0]) is None
    assert partial_pearson(x, y, [math.nan, math.nan, 1.0, 2.0, 3.0]) is None


def test_triples_with_gaps_are_left_out() -> None:
    x, y, z = np.random.default_rng(0).standard_normal((3, 9)).tolist()
    assert partial_pearson([*x, None], [*y, 1.0], [*z, 2.0]) == partial_pearson(x, y, z)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="of one length"):
        partial_pearson([1.0], [1.0, 2.0], [1.0])
