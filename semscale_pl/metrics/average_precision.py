"""Average precision of each class against the rest: exact from all scores, or from histograms where too many."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from semscale_pl.metrics.accuracy import check_rows, plain_list

NUM_BINS = 512
# Probabilities under exp(-20) share the lowest bin of a histogram.
LOWEST_LOG = -20.0


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the area under one class's precision-recall steps; equal scores count as one threshold.

    Args:
        scores: (N,) higher means more likely this class.
        positive: (N,) bool, the row is of this class.

    Returns:
        () float64 in [0, 1]; NaN without a positive row.

    Example:
        >>> import torch
        >>> round(float(average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))), 4)
        0.8333
    """
    ordered, order = scores.sort(descending=True)
    hits = positive[order].double().cumsum(0)
    last_of_ties = torch.ones_like(ordered, dtype=torch.bool)
    last_of_ties[:-1] = ordered[1:] != ordered[:-1]
    rows = torch.arange(1, len(ordered) + 1, dtype=torch.float64, device=scores.device)[last_of_ties]
    return _area(hits[last_of_ties], rows)


def binned_average_precision(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the average precision of each class from histograms of its scores.

    Args:
        positives: (C, bins) rows of the class in each bin, from the lowest score to the highest.
        negatives: (C, bins) rows of other classes.

    Returns:
        (C,) float64, NaN without a positive row. Rows of one bin count as ties, which is the only approximation.
    """
    hits = positives.flip(1).double().cumsum(1)
    rows = hits + negatives.flip(1).double().cumsum(1)
    return _area(hits, rows.clamp_min(1))


def score_histograms(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Count scores in bins of equal width of the log-probability.

    Args:
        probabilities: (B, C).
        num_bins: bins between a log-probability of -20 and 0.

    Returns:
        (2, C, bins) int64: rows of the class, rows of other classes.
    """
    num_classes = probabilities.shape[1]
    height = 1 - probabilities.log().clamp_min(LOWEST_LOG) / LOWEST_LOG
    bins = (height * num_bins).long().clamp(0, num_bins - 1)
    classes = torch.arange(num_classes, device=labels.device)
    negative = (labels[:, None] != classes).long()
    flat = (negative * num_classes + classes) * num_bins + bins
    counts = torch.zeros(2 * num_classes * num_bins, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, flat.flatten(), torch.ones_like(flat.flatten()))
    return counts.view(2, num_classes, num_bins)


def class_average_precisions(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the exact average precision (C,) of each column of (N, C) scores, NaN for a class without rows."""
    columns = probabilities.unbind(dim=1)
    return torch.stack([average_precision(column, labels == c) for c, column in enumerate(columns)])


def add_empty_batch(probabilities: list[Tensor], labels: list[Tensor], num_classes: int, device: torch.device) -> None:
    """Give lists without a batch one of no rows: a rank without rows must join the exchange with matching shapes."""
    if not isinstance(probabilities, Tensor) and not probabilities:
        probabilities.append(torch.zeros(0, num_classes, device=device))
        labels.append(torch.zeros(0, dtype=torch.int64, device=device))


def _area(hits: Tensor, rows: Tensor) -> Tensor:
    if hits.shape[-1] == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    total = hits[..., -1:]
    gained = hits.diff(dim=-1, prepend=torch.zeros_like(total))
    area = (gained * hits / rows).sum(-1) / total.squeeze(-1).clamp_min(1)
    return torch.where(total.squeeze(-1) > 0, area, torch.nan)


class AveragePrecision(Metric):
    """Exact average precision of each class against the rest, by softmax probability; keeps all scores."""

    full_state_update = False
    probabilities: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (B, C) and labels (B,)."""
        check_rows(logits, labels, self.num_classes)
        self.probabilities.append(logits.detach().float().softmax(dim=1))
        self.labels.append(labels)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Exchange the scores between ranks, also where one has none."""
        add_empty_batch(self.probabilities, self.labels, self.num_classes, self.device)
        super().sync(*args, **kwargs)

    def compute(self) -> list[float | None]:
        """Return a fraction in [0, 1] for each class, None for a class without rows."""
        return plain_list(class_average_precisions(dim_zero_cat(self.probabilities), dim_zero_cat(self.labels)))
