"""Which rows of a source cannot be measured, in one line."""

from __future__ import annotations

import numpy as np

from semscale_pl.analysis.centring import LARGEST
from semscale_pl.analysis.feature_source import FeatureSource

_ROWS_AT_ONCE = 4096


def unusable_rows(source: FeatureSource, wanted: np.ndarray) -> str:
    """Count NaN, infinities and numbers too large to be squared.

    Args:
        source: where from.
        wanted: ascending numbers of rows, some of them unusable.

    Returns:
        How many rows have which, where the first is, and what to do.
    """
    nans, infinities, large, first, start = 0, 0, 0, -1, 0
    for piece in source.rows(wanted, _ROWS_AT_ONCE):
        nan, infinite = np.isnan(piece).any(1), np.isinf(piece).any(1)
        beyond = (np.isfinite(piece) & (np.abs(piece) > np.float64(LARGEST))).any(1)
        wrong = nan | infinite | beyond
        if first < 0 and wrong.any():
            first = int(wanted[start + int(wrong.argmax())])
        nans, infinities, start = nans + int(nan.sum()), infinities + int(infinite.sum()), start + len(piece)
        large += int(beyond.sum())
    if not nans and not infinities:
        return (
            f"Expected the features of {source.name} to be at most {LARGEST:g}, so that they can be squared, but got "
            f"more in {large:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). Rescale them."
        )
    return (
        f"Expected the features of {source.name} to be finite, but got NaN in {nans:,} and infinities in "
        f"{infinities:,} of {source.num_rows:,} rows, the first is row {first:,} (counted from 0). Repair "
        "or leave out those rows."
    )
