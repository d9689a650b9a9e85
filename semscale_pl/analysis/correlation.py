"""What goes with class accuracy: its correlation with n, E_n, S', W and S over classes, averaged over trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semscale_pl.statistics import mean_interval, paired_difference, pearson, spearman

KINDS = {"pearson": pearson, "spearman": spearman}
# Closer to 1, what is left is rounding.
_EXACT = 1.0 - 1e-12


def class_quantities(record: Mapping[str, Any], alphas: Sequence[float] = (1.0,)) -> dict[str, list[float]]:
    """Collect what a run's record says of its classes.

    Args:
        record: a run's ``metrics.json``.
        alphas: of the inter-class weights in S, each at least 1. The record's W has alpha 1, from which any other
            follows: W' / max W' = 2^W - 1.

    Returns:
        ``n``, ``log n``, ``E_n``, ``S'``, ``W`` and ``S`` for each alpha (``S, alpha=2``; alpha 1 is plain ``S``), each
        with C values, NaN where undefined.

    Raises:
        ValueError: an alpha is below 1.

    Reference: Ma et al. (ICLR 2023), section 3.4, Table 1.
    """
    if not all(alpha >= 1.0 for alpha in alphas):
        raise ValueError(f"Expected `alphas` of at least 1, but got {list(alphas)}.")
    scales, weights = (_finite(record["scales"][name]) for name in ("S'", "W"))
    largest = np.nanmax(scales) if np.isfinite(scales).any() else math.nan
    relative = scales / largest if largest > 0 else scales
    counts = _finite(record["class_counts"])
    found = {
        "n": counts,
        # Accuracy is no straight line over counts; a quantity that beats n should also beat its logarithm.
        "log n": np.log(np.where(counts > 0, counts, math.nan)),
        "E_n": _finite(record["effective_numbers"]["E_n"]),
        "S'": scales,
        "W": weights,
    }
    for alpha in alphas:
        name = "S" if alpha == 1.0 else f"S, alpha={alpha:g}"
        found[name] = relative * np.log2(alpha + np.exp2(weights) - 1.0)
    return {name: values.tolist() for name, values in found.items()}


def accuracy_correlations(record: Mapping[str, Any], alphas: Sequence[float] = (1.0,)) -> dict[str, dict[str, Any]]:
    """Correlate the class accuracies of a run's last epoch with each quantity.

    Args:
        record: a run's ``metrics.json``.
        alphas: see :func:`class_quantities`.

    Returns:
        Quantity to ``pearson`` and ``spearman``; None where undefined, as for n on balanced data.
    """
    accuracy = _finite(record["results"]["last"]["per_class"]["accuracy"]).tolist()
    return {
        name: {kind: correlate(values, accuracy).value for kind, correlate in KINDS.items()}
        for name, values in class_quantities(record, alphas).items()
    }


def mean_correlation(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Average correlations of several trainings after Fisher's transformation.

    A correlation of 1 or -1, which ten classes in the very order of their accuracies have, has no finite transform:
    then the correlations themselves are averaged, and the interval ends at 1 and -1.

    Args:
        values: one a training; None is left out.

    Returns:
        ``mean``, its 95 % Student interval ``low`` and ``high`` (None for fewer than two), and ``n``.

    Example:
        >>> mean_correlation([0.5, 0.5, None])["n"]
        2
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None, "n": 0}
    finite = max(map(abs, known)) < _EXACT
    interval = mean_interval([math.atanh(value) for value in known] if finite else known)

    def back(value: float) -> float:
        return math.tanh(value) if finite else min(max(value, -1.0), 1.0)

    low, high = (None if bound is None else back(bound) for bound in (interval.low, interval.high))
    return {"mean": back(interval.mean), "low": low, "high": high, "n": interval.n}


def compare_quantities(
    trainings: Sequence[Mapping[str, Mapping[str, float | None]]], first: str, second: str, kind: str
) -> dict[str, Any] | None:
    """Compare how well two quantities go with accuracy, training by training.

    Args:
        trainings: of :func:`accuracy_correlations`, one a training.
        first: a quantity.
        second: the one it is compared with.
        kind: ``pearson`` or ``spearman``.

    Returns:
        The mean difference of the correlations, first minus second, with its 95 % interval and p-value; None where no
        training has both.
    """
    pairs = [(found[first][kind], found[second][kind]) for found in trainings]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return None
    ones, others = zip(*known, strict=True)
    return paired_difference(ones, others)._asdict()


def summarise(
    trainings: Sequence[Mapping[str, Mapping[str, float | None]]], contrasts: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Average the correlations of one model on one dataset over its seeds.

    Args:
        trainings: of :func:`accuracy_correlations`, one a seed.
        contrasts: pairs of quantities to compare.

    Returns:
        ``quantities``: quantity to kind to :func:`mean_correlation`; ``contrasts``: see :func:`compare_quantities`.
    """
    names = list(trainings[0])
    return {
        "quantities": {
            name: {kind: mean_correlation([found[name][kind] for found in trainings]) for kind in KINDS}
            for name in names
        },
        "contrasts": [
            {"first": first, "second": second, **{k: compare_quantities(trainings, first, second, k) for k in KINDS}}
            for first, second in contrasts
        ],
    }


def _finite(values: Sequence[float | None]) -> np.ndarray:
    return np.asarray([math.nan if value is None else value for value in values], dtype=np.float64)
