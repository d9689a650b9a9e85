"""Quantities of one cell: numbers of its record, and those derived from it and from the baseline's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from semscale_pl.options import check
from semscale_pl.statistics import pearson, spearman

Metrics = Mapping[str, Any]


def value_at(metrics: Metrics, key: str) -> float | None:
    """Look up a number by its dotted path; None where it is absent, null or not finite.

    Args:
        key: such as ``results.last.balanced_accuracy``.

    Example:
        >>> value_at({"results": {"last": {"tail": 0.5}}}, "results.last.tail")
        0.5
    """
    node: Any = metrics
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, bool) or not isinstance(node, int | float) or not math.isfinite(node):
        return None
    return float(node)


def accuracy_of_third(record: Metrics, baseline: Metrics, *, ranking: str, third: str, epoch: str = "last") -> Any:
    """Return the mean class accuracy over a third of the classes, the same third for every row of a column and seed.

    Args:
        baseline: record of the baseline's cell of the same column and seed; its S or n ranks the classes.
        ranking: ``S`` or ``n``, from the largest value (head) to the smallest (tail).
        third: ``head``, ``middle`` or ``tail``; what three does not divide goes to the back of a ranking by S
            (333, 333 and 334 of 1,000), and to the front of one by n, as in ``results.last.head``.
        epoch: ``last`` or ``selected``.

    Returns:
        A fraction; None where a class of the ranking has no S, or nobody was tested.

    Reference: Ma et al. (ICLR 2023), App. H3.
    """
    values = baseline["class_counts"] if ranking == "n" else baseline["scales"]["S"]
    report = record["results"][epoch]
    if report is None or any(value is None for value in values):
        return None
    from semscale_pl.metrics.accuracy import rank_groups  # brings torch, which a table without this measure can spare

    members = rank_groups(values, extra_last=ranking == "S")[third]
    accuracies = report["per_class"]["accuracy"]
    found = [accuracies[label] for label in members if accuracies[label] is not None]
    return sum(found) / len(found) if found else None


def correlation_with_S(  # noqa: N802  (the paper's symbol)
    record: Metrics, baseline: Metrics, *, alpha: float, method: str = "pearson", epoch: str = "last"
) -> Any:
    """Return the correlation of class accuracy with S(alpha) = S' / max S' * log2(alpha + W' / max W').

    The record holds W at alpha = 1, from which W' / max W' = 2^W - 1.

    Args:
        alpha: at least 1; the larger, the weaker the role of W.

    Returns:
        The coefficient; None where it is undefined.

    Reference: Ma et al. (ICLR 2023), section 3.3 and Table 1.
    """
    report, scales = record["results"][epoch], record["scales"]
    if report is None:
        return None
    # None becomes NaN; the divisor max S' leaves a correlation as it is.
    sizes, weights = (np.asarray(scales[name], dtype=np.float64) for name in ("S'", "W"))
    imbalance = (sizes * np.log2(alpha + 2.0**weights - 1.0)).tolist()
    return (pearson if method == "pearson" else spearman)(imbalance, report["per_class"]["accuracy"]).value


def ratio_to_baseline(record: Metrics, baseline: Metrics, *, key: str) -> Any:
    """Return a number of the record over the same number of the baseline's, such as ``cost.seconds``."""
    ours, theirs = value_at(record, key), value_at(baseline, key)
    return ours / theirs if ours is not None and theirs else None


DERIVED: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (accuracy_of_third, correlation_with_S, ratio_to_baseline)
}
_ALLOWED = {
    "ranking": ("S", "n"),
    "third": ("head", "middle", "tail"),
    "epoch": ("last", "selected"),
    "method": ("pearson", "spearman"),
}


def check_derived(name: str, arguments: Mapping[str, Any]) -> None:
    """Check the name and the arguments of a derived measure.

    Raises:
        ValueError: there is no such measure, or an argument is unknown, missing or out of range.
    """
    if name not in DERIVED:
        raise ValueError(f"Expected `derived` to be one of {sorted(DERIVED)}, but got {name!r}.")
    parameters = {
        key: parameter
        for key, parameter in inspect.signature(DERIVED[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    needed = {key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    if not needed <= set(arguments) <= set(parameters):
        raise ValueError(f"Expected the `arguments` of {name} to be {sorted(parameters)}, but got {sorted(arguments)}.")
    for key, value in arguments.items():
        if value not in _ALLOWED.get(key, (value,)):
            raise ValueError(f"Expected `{key}` of {name} to be one of {list(_ALLOWED[key])}, but got {value!r}.")
    check(alpha=arguments.get("alpha", 1.0))


def compute(name: str, record: Metrics, baseline: Metrics | None, arguments: Mapping[str, Any]) -> float | None:
    """Compute a derived measure of one cell.

    Args:
        baseline: of the baseline's cell of the same column and seed; None where it has none yet.

    Returns:
        The number; None where it is undefined or the record lacks what it needs.
    """
    if baseline is None:
        return None
    try:
        value = DERIVED[name](record, baseline, **arguments)
    except (KeyError, IndexError):  # a record of another kind of run
        return None
    return None if value is None or not math.isfinite(value) else float(value)
