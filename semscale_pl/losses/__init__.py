"""Per-sample classification losses: (B, C) logits and (B,) labels to (B,) losses."""

from __future__ import annotations

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.classification import BalancedSoftmax, CrossEntropy, Focal

__all__ = ["BalancedSoftmax", "CrossEntropy", "Focal", "PerSampleLoss"]
