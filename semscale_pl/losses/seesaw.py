"""Seesaw loss: frequent classes press less on rare ones, unless the rare one was wrongly preferred."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.options import check

# A probability of the true class below this one no longer raises the compensation.
SMALLEST_PROBABILITY = 0.01


def seesaw_log_factors(logits: Tensor, labels: Tensor, counts: Tensor, p: float = 0.8, q: float = 2.0) -> Tensor:
    """Return the logarithm (B, C) of the factor on each class's term in the denominator of the softmax.

    The mitigation factor is ``min(1, N_j / N_y)^p``, the compensation factor ``max(1, sigma_j / sigma_y)^q``; both
    are constants for the gradient, and both are 1 for the true class.

    Args:
        logits: (B, C).
        labels: (B,).
        counts: (C,) labels seen so far; fewer than one count as one.
        p: strength of the mitigation.
        q: strength of the compensation.

    Reference: Wang et al. (CVPR 2021), section 3.2.
    """
    log_counts = counts.clamp_min(1).to(torch.float64).log()
    mitigation = p * (log_counts - log_counts[labels][:, None]).clamp_max(0)
    log_sigma = logits.detach().log_softmax(dim=1)
    own = log_sigma.gather(1, labels[:, None]).clamp_min(math.log(SMALLEST_PROBABILITY))
    compensation = q * (log_sigma - own).clamp_min(0)
    return mitigation.to(log_sigma) + compensation


class Seesaw(PerSampleLoss):
    """Seesaw loss with class counts accumulated while training.

    `setup` only gives the number of classes: the counts are those of the labels drawn so far, whatever the
    sampler. Before the first `update` all are equal and nothing is mitigated. A repeated `setup` keeps the counts.

    Args:
        p: strength of the mitigation; 0 switches it off.
        q: strength of the compensation; 0 switches it off.

    Attributes:
        cumulative_counts: (C,) int64 labels seen so far; None before `setup`.

    Example:
        >>> loss = Seesaw(p=1.0, q=0.0)
        >>> loss.setup(torch.ones(2))
        >>> loss.update(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1]))
        >>> loss(torch.zeros(1, 2), torch.tensor([0])).exp()
        tensor([1.3333])

    Reference: Wang et al. (CVPR 2021), section 3.2.
    """

    cumulative_counts: Tensor | None

    def __init__(self, p: float = 0.8, q: float = 2.0) -> None:
        super().__init__()
        check(p=p, q=q)
        self.p, self.q = float(p), float(q)
        self.register_buffer("cumulative_counts", None)

    def setup(self, class_frequencies: Tensor) -> None:
        """Learn the number of classes from (C,) frequencies; see `PerSampleLoss.setup`."""
        super().setup(class_frequencies)
        frequencies, counts = self.class_frequencies, self.cumulative_counts
        if frequencies is not None and (counts is None or counts.shape != frequencies.shape):
            self.cumulative_counts = torch.zeros_like(frequencies, dtype=torch.int64)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        values = full_precision(logits)
        return cross_entropy(values + seesaw_log_factors(values, labels, self._counts(logits), self.p, self.q), labels)

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count the labels (B,) of all ranks' rows."""
        self._counts(logits).scatter_add_(0, labels, torch.ones_like(labels))

    def _counts(self, logits: Tensor) -> Tensor:
        self.require_frequencies(logits)
        counts = self.cumulative_counts
        if counts is None:
            raise ValueError("Expected Seesaw to have counts beside its frequencies, but got none. Call `setup` again.")
        return counts
