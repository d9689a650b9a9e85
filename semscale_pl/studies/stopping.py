"""When a rule for ending a collection says stop, and how much of a class's volume was still to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from semscale_pl.analysis.growth import fit_growth
from semscale_pl.analysis.increments import last_increment
from semscale_pl.volumes import semantic_scale

# The paper's rule takes the samples as they come; ours averages over orders, or asks what the next batch would add.
RULES = ("as they come", "averaged", "predicted")


def stops(
    samples: Tensor, batch: int, thresholds: Sequence[float], seed: int, orders: int = 10
) -> list[dict[str, Any]]:
    """Collect a class batch by batch until every rule has said stop for every threshold.

    Args:
        samples: (N, d) of the class in the order of collection.
        batch: samples at a time.
        thresholds: shares of S'.
        seed: of the averaged rule's orders.
        orders: of the averaged rule and of the fitted curve.

    Returns:
        For each rule and threshold: samples at the stop, and the share of the whole class's S' that is then missing.
        A rule that never says stop has collected all.
    """
    full = float(semantic_scale(samples))
    found: dict[tuple[str, float], tuple[int, float]] = {}
    wanted = [(rule, threshold) for rule in RULES for threshold in thresholds]
    count, before = batch, float(semantic_scale(samples[:batch]))
    while count + batch <= len(samples) and len(found) < len(wanted):
        count += batch
        present = samples[:count]
        scale = float(semantic_scale(present))
        growth = fit_growth(present, orders=orders, seed=seed)
        values = {
            "as they come": (scale - before) / before,
            "averaged": last_increment(present, batch, orders=orders, seed=seed).mean,
            "predicted": growth.gain(count, batch) if growth else float("nan"),
        }
        for rule, threshold in wanted:
            if values[rule] < threshold:
                found.setdefault((rule, threshold), (count, scale))
        before = scale
    result = []
    for rule, threshold in wanted:
        count, scale = found.get((rule, threshold), (len(samples), full))
        result.append({"rule": rule, "threshold": threshold, "count": count, "left": 1.0 - scale / full})
    return result
