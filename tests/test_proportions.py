"""Wilson's interval against statsmodels' published form and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.statistics import wilson_interval


@given(st.integers(1, 200), st.data())
def test_against_scipy(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    expected = stats.binomtest(successes, total).proportion_ci(0.9, method="wilson")
    assert wilson_interval(successes, total, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "total", "level"), [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 5, 1.0)])
def test_refusals(successes: int, total: int, level: float) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, total, level)
