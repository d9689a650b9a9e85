"""Correlations over classes, with intervals that cover other classes too: classes and trainings both resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from semscale_pl.options import check, check_choice

KINDS = ("pearson", "spearman")
DRAWS = 1000
# Of fewer classes, resamples are too often of one or two, and say nothing.
_FEWEST_CLASSES = 5
# Closer to 1 a coefficient has no transform; a share of undefined resamples beyond which there is no interval.
_EXACT, _MOST_UNDEFINED = 1.0 - 1e-5, 0.05


class OverClasses(NamedTuple):
    """A mean over n trainings with its interval over classes and trainings; None where undefined."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    num_classes: int


class TwoWayDraws:
    """Classes and trainings drawn with replacement, independently of each other, the same for all quantities.

    A class that is drawn comes with what it is in every training, a training with all its classes. The variance over
    such draws is that of the mean over both, and somewhat more: what is particular to a class in a training counts
    in both ways of drawing.

    Args:
        num_trainings: T, at least 1; of one training, only classes are drawn.
        num_classes: C.
        draws: B.
        seed: of the draws.

    Raises:
        ValueError: there are no trainings, classes or draws.

    Example:
        >>> x = np.arange(12.0)[None].repeat(2, axis=0)
        >>> y = x + np.array([[0, 3, -3, 2, -2, 1] * 2, [3, 0, -3, -2, 2, 1] * 2])
        >>> draws = TwoWayDraws(2, 12)
        >>> found = draws.mean(draws.correlations(x, y))
        >>> round(found.mean, 2), -1.0 < found.low < found.mean < found.high < 1.0
        (0.85, True)

    Reference: Owen, The pigeonhole bootstrap (Annals of Applied Statistics 2007).
    """

    def __init__(self, num_trainings: int, num_classes: int, draws: int = DRAWS, seed: int = 0) -> None:
        if min(num_trainings, num_classes, draws) < 1:
            raise ValueError(
                "Expected at least one training, one class and one draw, but got "
                f"{num_trainings}, {num_classes} and {draws}."
            )
        random = np.random.default_rng(seed)
        # The first row is the sample itself.
        self.classes, self.trainings = (
            np.vstack([np.ones(size), random.multinomial(size, np.full(size, 1.0 / size), size=draws)])
            for size in (num_classes, num_trainings)
        )
        self._num_classes = num_classes

    def correlations(self, x: np.ndarray, y: np.ndarray, kind: str = "pearson") -> np.ndarray:
        """Correlate x with y over the classes of each training.

        Args:
            x, y: (T, C); a class with NaN in a training is left out of it.
            kind: ``pearson`` or ``spearman``.

        Returns:
            (1 + B, T): of all classes, then of each draw of classes; NaN where undefined.

        Raises:
            ValueError: a shape is another, or the kind unknown.
        """
        check_choice(kind, KINDS, "kind")
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        expected = (self.trainings.shape[1], self._num_classes)
        if x.shape != expected or y.shape != expected:
            raise ValueError(f"Expected x and y of shape {expected}, but got {x.shape} and {y.shape}.")
        columns = [_correlations(self.classes, *pair, kind) for pair in zip(x, y, strict=True)]
        return np.stack(columns, axis=1)

    def mean(self, correlations: np.ndarray, level: float = 0.95, num_classes: int | None = None) -> OverClasses:
        """Average the correlations of trainings on Fisher's scale, with an interval that covers classes and trainings.

        The interval is the percentile interval of the draws, at the quantiles of the normal distribution that Student's
        of C - 2 degrees of freedom asks for, times sqrt(C / (C - 1)): of few classes, draws alone spread too little.
        It lies within [-1, 1]. Where some training's correlation is 1 or -1, all are averaged as they are.

        Args:
            correlations: of :meth:`correlations` or :func:`partial`.
            level: of the interval.
            num_classes: those that have values, where not all C do.

        Returns:
            Bounds are None for fewer than 5 classes, where draws are too often undefined, and where no draw differs.

        Reference: Hesterberg (The American Statistician 2015), section 5.3, for the expanded percentiles.
        """
        known = np.abs(correlations[0][~np.isnan(correlations[0])])
        if not (known < _EXACT).all():
            return self._interval(correlations, level, num_classes)
        found = self._interval(np.arctanh(np.clip(correlations, -_EXACT, _EXACT)), level, num_classes)
        mean, low, high = (None if value is None else math.tanh(value) for value in found[:3])
        return found._replace(mean=mean, low=low, high=high)

    def difference(
        self, first: np.ndarray, second: np.ndarray, level: float = 0.95, num_classes: int | None = None
    ) -> OverClasses:
        """Average the differences, first minus second, of two correlations of the same trainings.

        The interval is as that of :meth:`mean`, of the differences themselves.

        Args:
            first, second: of :meth:`correlations`, (1 + B, T).
            level: of the interval.
            num_classes: those that have values, where not all C do.
        """
        return self._interval(first - second, level, num_classes)

    def _interval(self, values: np.ndarray, level: float, num_classes: int | None) -> OverClasses:
        check(level=level)
        classes = self._num_classes if num_classes is None else num_classes
        weights = np.where(np.isnan(values), 0.0, self.trainings)
        totals = weights.sum(axis=1)
        means = (weights * np.nan_to_num(values)).sum(axis=1) / np.where(totals > 0, totals, np.nan)
        number = int((~np.isnan(values[0])).sum())
        if number == 0:
            return OverClasses(None, None, None, 0, classes)
        drawn = means[1:][~np.isnan(means[1:])]
        too_few = classes < _FEWEST_CLASSES or len(drawn) < (1.0 - _MOST_UNDEFINED) * (len(means) - 1)
        if too_few or np.ptp(drawn) <= 1e-12:
            return OverClasses(float(means[0]), None, None, number, classes)
        quantile = stats.t.ppf(0.5 + level / 2.0, classes - 2) * math.sqrt(classes / (classes - 1))
        low, high = np.quantile(drawn, stats.norm.cdf([-quantile, quantile]))
        return OverClasses(float(means[0]), float(low), float(high), number, classes)


def partial(direct: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the partial correlations of x and y given z, draw by draw.

    Args:
        direct, first, second: correlations of (x, y), (x, z) and (y, z) of the same draws, (1 + B, T).

    Returns:
        (1 + B, T), NaN where x or y is a function of z.
    """
    left = (1.0 - first**2) * (1.0 - second**2)
    determined = np.maximum(np.abs(first), np.abs(second)) > 1.0 - 1e-6
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (direct - first * second) / np.sqrt(left)
    return np.where(determined, np.nan, np.clip(found, -1.0, 1.0))


def stacked(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Return trainings by classes, (T, C), with NaN for None."""
    return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def _correlations(weights: np.ndarray, x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Correlate x with y (C,) under the multiplicities of each draw (1 + B, C)."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return np.full(len(weights), np.nan)
    weights, x, y = weights[:, known], x[known], y[known]
    if kind == "spearman":
        return _weighted(weights, _ranks(weights, x), _ranks(weights, y))
    return _weighted(weights, _standard(x)[None], _standard(y)[None])


def _weighted(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (part - (weights * part).sum(axis=1, keepdims=True) / total for part in (x, y))
    products = (weights * dx * dy).sum(axis=1)
    sizes = (weights * dx * dx).sum(axis=1) * (weights * dy * dy).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = products / np.sqrt(sizes)
    return np.where(sizes > 1e-20, np.clip(found, -1.0, 1.0), np.nan)


def _standard(values: np.ndarray) -> np.ndarray:
    deviations = values - values.mean()
    spread = float(np.sqrt((deviations**2).mean()))
    return np.zeros_like(values) if spread <= 1e-13 * float(np.abs(values).max()) else deviations / spread


def _ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the middle rank of each class among those drawn, (1 + B, C), up to a constant; ties share theirs."""
    order = np.argsort(values, kind="stable")
    _, first, group = np.unique(values[order], return_index=True, return_inverse=True)
    reached = weights[:, order].cumsum(axis=1)
    through = reached[:, np.append(first[1:], len(values)) - 1]
    below = np.concatenate([np.zeros((len(weights), 1)), through[:, :-1]], axis=1)
    ranks = np.empty_like(weights)
    ranks[:, order] = ((below + through) / 2.0)[:, group]
    return ranks
