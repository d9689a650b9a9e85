"""Classes that shrink in count, not in volume: the fewest samples that keep a share of each class's S'."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.analysis.selection.methods import METHODS, select
from semscale_pl.validation import check_choice, check_features, check_labels
from semscale_pl.volumes import semantic_scale


class Shrunk(NamedTuple):
    """What is kept of a dataset.

    Args:
        rows: (M,) int64, ascending.
        counts: (C,) int64 samples kept of each class.
        scales: (C,) bits, S' of what is kept; NaN for an absent class.
        full_scales: (C,) bits, S' of the whole classes.
    """

    rows: Tensor
    counts: Tensor
    scales: Tensor
    full_scales: Tensor


@torch.no_grad()
def shrink(
    features: Tensor, labels: Tensor, keep_volume: float = 0.95, method: str = "greedy", seed: int = 0
) -> Shrunk:
    """Keep, of every class, a number k of chosen samples with ``keep_volume`` of its semantic scale.

    k is found by doubling and halving: k samples of the method reach the share and k - 1 do not. It is the smallest
    such k wherever S' of the chosen ones grows with k. A greedy choice takes the edge of a class first, so it holds
    the share with far fewer samples than a random one does, and they are less typical.

    Args:
        features: (N, d).
        labels: (N,) integers from 0.
        keep_volume: share of each class's S' to keep, in (0, 1].
        method: one of :func:`semscale_pl.analysis.selection.methods.select`.
        seed: of the methods that draw.

    Returns:
        The rows kept, with counts and scales of each class.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: their shapes do not match, there is no such method, or the share is outside (0, 1].

    Example:
        >>> line = torch.tensor([[-1.0], [-0.9], [0.0], [0.9], [1.0], [5.0]])
        >>> shrink(line, torch.tensor([0, 0, 0, 0, 0, 1])).rows.tolist()
        [0, 4, 5]
    """
    check_features(features, min_rows=1)
    check_labels(labels, len(features), int(labels.max()) + 1 if len(labels) else 1)
    check_choice(method, tuple(METHODS), "method")
    if not 0.0 < keep_volume <= 1.0:
        raise ValueError(f"Expected `keep_volume` to be above 0 and at most 1, but got {keep_volume}.")
    num_classes = int(labels.max()) + 1
    counts = torch.zeros(num_classes, dtype=torch.int64)
    scales = torch.full((num_classes,), torch.nan, dtype=torch.float64)
    full_scales, kept = scales.clone(), []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        samples = features[members]
        full_scales[label] = semantic_scale(samples)
        rows = _fewest(samples, keep_volume * float(full_scales[label]), method, seed)
        counts[label], scales[label] = len(rows), semantic_scale(samples[rows])
        kept.append(members[rows])
    return Shrunk(torch.cat(kept).sort().values, counts, scales, full_scales)


def _fewest(samples: Tensor, bits: float, method: str, seed: int) -> Tensor:
    """Return the chosen rows of a class that reach some bits where one fewer would not."""
    most = len(samples)
    low, high = 0, 1
    rows = select(samples, high, method, seed)
    while float(semantic_scale(samples[rows])) < bits and high < most:
        low, high = high, min(2 * high, most)
        rows = select(samples, high, method, seed)
    while high - low > 1:
        middle = (low + high) // 2
        candidates = select(samples, middle, method, seed)
        if float(semantic_scale(samples[candidates])) >= bits:
            high, rows = middle, candidates
        else:
            low = middle
    return rows
