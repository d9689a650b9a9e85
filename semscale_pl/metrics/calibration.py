"""Expected calibration error: how far a model's confidence lies from how often it is right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from semscale_pl.metrics.accuracy import check_rows, plain
from semscale_pl.metrics.scores import log_sums_of

NUM_BINS = 15


def calibration_bins(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Sort rows by confidence, the largest softmax probability in float64, into bins of equal width.

    Args:
        logits: (B, C); of equal ones the first is the prediction.
        labels: (B,).
        num_bins: number of bins over [0, 1].

    Returns:
        (3, num_bins) float64: rows, sum of confidences, right predictions of each bin. Sums of batches add up.
    """
    confidences, right = (-log_sums_of(logits)).exp(), logits.argmax(dim=1) == labels
    edges = torch.linspace(0, 1, num_bins + 1, dtype=confidences.dtype, device=confidences.device)
    # Bins are closed below, as in torchmetrics; a confidence of 1 joins the last one.
    rows = (torch.bucketize(confidences, edges, right=True) - 1).clamp(0, num_bins - 1)
    values = torch.stack([torch.ones_like(confidences), confidences, right.double()])
    bins = torch.zeros(3, num_bins, dtype=torch.float64, device=confidences.device)
    return bins.scatter_add_(1, rows.expand(3, -1), values)


def expected_calibration_error(bins: Tensor) -> float | None:
    """Return the mean over rows of the distance between mean confidence and accuracy of their bin, None without rows.

    Args:
        bins: (3, num_bins) from `calibration_bins`.
    """
    rows, confidences, right = bins
    return plain((confidences - right).abs().sum() / rows.sum())


class CalibrationError(Metric):
    """Expected calibration error (l1) of the softmax probabilities, in bins of equal width over [0, 1].

    Raises:
        ValueError: no bin.

    Reference: Guo et al. (ICML 2017), eq. 3.
    """

    full_state_update = False
    bins: Tensor

    def __init__(self, num_classes: int, num_bins: int = NUM_BINS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_bins < 1:
            raise ValueError(f"Expected `num_bins` to be at least 1, but got {num_bins}.")
        self.num_classes, self.num_bins = num_classes, num_bins
        self.add_state("bins", torch.zeros(3, num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (B, C) and labels (B,)."""
        check_rows(logits, labels, self.num_classes)
        self.bins += calibration_bins(logits, labels, self.num_bins)

    def compute(self) -> float | None:
        """Return the error in [0, 1], None without rows."""
        return expected_calibration_error(self.bins)
