"""What is asked for beside S': count-controlled scales and intervals, each computed while a class is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from semscale_pl.analysis.class_table import ClassTable
from semscale_pl.analysis.estimators import CONTROLLED, extrapolated_scales, matched_scales, matched_size, shrunk_scales
from semscale_pl.analysis.intervals import scale_intervals
from semscale_pl.analysis.tabulating import Extra
from semscale_pl.validation import check_choice

INTERVAL = "interval"


def check_controlled(names: Sequence[str]) -> None:
    """Refuse an estimator that there is not.

    Raises:
        ValueError: naming it.
    """
    for name in names:
        check_choice(name, CONTROLLED, "controlled")


def extras_of(
    controlled: Sequence[str], intervals: bool, level: float, root: float, counts: np.ndarray, seed: int
) -> dict[str, Extra]:
    """Return what to compute from the rows of each class.

    The estimators know the paper's ratio d/m and a ruler of length 1; rows multiplied by ``root / sqrt(d)`` are
    measured the same way with any ratio and unit. OAS is left out: the scatter matrix gives it.

    Args:
        controlled: names of estimators.
        intervals: whether intervals are wanted.
        level: of the intervals.
        root: sqrt(ratio) / unit.
        counts: (C,) samples of all classes, which fix the size of matched subsets.
        seed: of all draws.
    """
    size = matched_size(counts.tolist()) if "matched" in controlled and (counts > 1).any() else 2
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "matched": lambda rows, zeros: matched_scales(rows, zeros, 1, size, seed=seed),
        "ledoit_wolf": lambda rows, zeros: shrunk_scales(rows, zeros, 1, "ledoit_wolf"),
        "extrapolated": lambda rows, zeros: extrapolated_scales(rows, zeros, 1, seed=seed),
        INTERVAL: lambda rows, zeros: scale_intervals(rows, zeros, 1, level=level, seed=seed),
    }
    wanted = [name for name in controlled if name != "oas"] + [INTERVAL] * intervals
    return {name: _of_class(functions[name], root) for name in wanted}


def controlled_columns(table: ClassTable, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the count-controlled scales, (C,) bits each."""
    columns = {"oas": table.shrunk}
    return {name: columns[name] if name in columns else np.array(table.extras[name], np.float64) for name in names}


def interval_column(table: ClassTable) -> np.ndarray | None:
    """Return the intervals, (C, 2) bits, or None where none were asked for."""
    if INTERVAL not in table.extras:
        return None
    pairs = [value if isinstance(value, Sequence) else (math.nan, math.nan) for value in table.extras[INTERVAL]]
    return np.array(pairs, dtype=np.float64)


def _of_class(function: Callable[[Tensor, Tensor], Tensor], root: float) -> Extra:
    def computed(rows: Tensor) -> float | Sequence[float]:
        scaled = rows.double() * (root / math.sqrt(rows.shape[1]))
        result: float | list[float] = function(scaled, torch.zeros(len(rows), dtype=torch.int64))[0].tolist()
        return result

    return computed
