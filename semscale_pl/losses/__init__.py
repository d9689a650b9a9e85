"""Per-sample classification losses: (B, C) logits and (B,) labels to (B,) losses."""

from __future__ import annotations

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.classification import CrossEntropy, Focal, SigmoidFocal
from semscale_pl.losses.equalization import Equalization
from semscale_pl.losses.ldam import LDAM
from semscale_pl.losses.logit_adjustment import BalancedSoftmax, LogitAdjusted, posthoc_logits
from semscale_pl.losses.seesaw import Seesaw

__all__ = ["LDAM", "BalancedSoftmax", "CrossEntropy", "Equalization", "Focal", "LogitAdjusted", "PerSampleLoss"]
__all__ += ["Seesaw", "SigmoidFocal", "posthoc_logits"]
