"""The two-way bootstrap against scipy, a naive resampling and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from semscale_pl.resampling import TwoWayDraws, partial, stacked
from semscale_pl.statistics import partial_pearson


def sample(random: np.random.Generator, trainings: int = 3, classes: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return a quantity and an accuracy of each class, with ties, both partly shared by the trainings."""
    x = random.normal(size=classes) + 0.3 * random.normal(size=(trainings, classes))
    y = np.round(x + random.normal(size=classes) + 0.5 * random.normal(size=(trainings, classes)), 1)
    return x, y


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_every_draw_is_scipys_correlation_of_the_drawn_classes(kind: str) -> None:
    x, y = sample(np.random.default_rng(0))
    y[1, 4] = np.nan
    draws = TwoWayDraws(3, 12, draws=20, seed=3)
    found = draws.correlations(x, y, kind)
    correlate = stats.pearsonr if kind == "pearson" else stats.spearmanr
    for row, times in enumerate(draws.classes.astype(int)):
        for training in range(3):
            drawn = np.repeat(np.arange(12), times)
            drawn = drawn[~np.isnan(y[training, drawn])]
            expected = correlate(x[training, drawn], y[training, drawn]).statistic
            assert found[row, training] == pytest.approx(expected, abs=1e-12)
    assert (draws.classes[0] == 1).all()
    assert (draws.classes.sum(axis=1) == 12).all()


def test_the_interval_is_of_expanded_percentiles_over_draws_of_both() -> None:
    x, y = sample(np.random.default_rng(1))
    draws = TwoWayDraws(3, 12, draws=300)
    found = draws.mean(draws.correlations(x, y))
    z = []
    for classes, trainings in zip(draws.classes.astype(int), draws.trainings.astype(int), strict=True):
        drawn = np.repeat(np.arange(12), classes)
        rs = [np.corrcoef(x[t, drawn], y[t, drawn])[0, 1] for t in np.repeat(np.arange(3), trainings)]
        z.append(np.arctanh(rs).mean())
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 10) * np.sqrt(12 / 11))
    expected = np.tanh([z[0], *np.quantile(z[1:], [tail, 1 - tail])])
    assert found[:3] == pytest.approx(tuple(expected), abs=1e-9)
    assert (found.n, found.num_classes) == (3, 12)
    fewer = draws.mean(draws.correlations(x, y), num_classes=6)
    assert fewer.low < found.low < found.high < fewer.high


def test_a_difference_is_of_the_same_draws() -> None:
    random = np.random.default_rng(2)
    x, y = sample(random)
    draws = TwoWayDraws(3, 12)
    strong, weak = draws.correlations(x, y), draws.correlations(random.normal(size=(3, 12)), y)
    found, none = draws.difference(strong, weak), draws.difference(strong, strong)
    assert found.mean == pytest.approx(float((strong - weak)[0].mean()))
    assert -2 <= found.low < found.mean < found.high <= 2
    assert (none.mean, none.low) == (0.0, None)


def test_partial_correlations_are_those_of_what_is_left() -> None:
    x, y = sample(np.random.default_rng(3))
    z = np.linspace(0, 1, 12)[None].repeat(3, axis=0) + 0.1 * x
    draws = TwoWayDraws(3, 12, draws=5)
    pairs = ((x, y), (x, z), (y, z))
    found = partial(*(draws.correlations(*pair) for pair in pairs))
    for training in range(3):
        assert found[0, training] == pytest.approx(partial_pearson(x[training], y[training], z[training]), abs=1e-10)
    assert np.isnan(partial(*(draws.correlations(*pair) for pair in ((z, y), (z, z), (y, z))))).all()


def test_what_has_no_interval() -> None:
    draws = TwoWayDraws(2, 6, seed=1)
    x = np.arange(6.0)[None].repeat(2, axis=0)
    exact = draws.mean(draws.correlations(x, 2 * x))
    assert (exact.mean, exact.low, exact.high) == (1.0, None, None)
    constant = draws.mean(draws.correlations(x, np.ones((2, 6))))
    assert (constant.mean, constant.low, constant.n) == (None, None, 0)
    few = TwoWayDraws(2, 3)
    found = few.mean(few.correlations(np.array([[1.0, 2.0, 4.0], [1.0, 3.0, 2.0]]), np.array([[1.0, 3.0, 4.0]] * 2)))
    assert found.mean is not None
    assert found.low is None
    order = draws.mean(draws.correlations(x, np.vstack([x[0], [0, 2, 1, 3, 5, 4]]), "spearman"))
    assert -1 <= order.low <= order.mean <= order.high <= 1


def test_refusals() -> None:
    with pytest.raises(ValueError, match="Expected at least one training"):
        TwoWayDraws(0, 3)
    with pytest.raises(ValueError, match=r"of shape \(2, 3\), but got \(2, 4\)"):
        TwoWayDraws(2, 3).correlations(np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="`kind` to be one of pearson, spearman"):
        TwoWayDraws(2, 3).correlations(np.ones((2, 3)), np.ones((2, 3)), "kendall")
    assert np.isnan(stacked([[None, 1.0]])[0, 0])


@pytest.mark.parametrize(("classes", "strength"), [(10, 0.0), (10, 0.8), (40, 0.6)])
def test_intervals_cover_the_truth_about_classes_where_those_over_trainings_do_not(
    classes: int, strength: float
) -> None:
    """Truth: the correlation over all classes that there are, of which these are a sample."""
    random, repeats, trainings, noise = np.random.default_rng(classes), 150, 5, 0.5
    truth = strength / np.sqrt(1.0 + noise**2)
    both = seeds = 0
    for _ in range(repeats):
        x = random.normal(size=classes)
        base = strength * x + np.sqrt(1.0 - strength**2) * random.normal(size=classes)
        y = base + noise * random.normal(size=(trainings, classes))
        draws = TwoWayDraws(trainings, classes, draws=200)
        correlations = draws.correlations(x[None].repeat(trainings, axis=0), y)
        found = draws.mean(correlations)
        both += found.low <= truth <= found.high
        z = np.arctanh(correlations[0])
        seeds += abs(z.mean() - np.arctanh(truth)) <= stats.t.ppf(0.975, 4) * z.std(ddof=1) / np.sqrt(trainings)
    assert both >= stats.binom.ppf(0.001, repeats, 0.95)
    assert seeds < 0.8 * repeats
