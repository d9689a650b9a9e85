"""Per-sample classification losses: (B, C) logits and (B,) labels to (B,) losses."""

from __future__ import annotations

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.classification import BalancedSoftmax, CrossEntropy, Focal
from semscale_pl.losses.equalization import Equalization
from semscale_pl.losses.ldam import LDAM
from semscale_pl.losses.logit_adjustment import LogitAdjusted, posthoc_logits
from semscale_pl.losses.seesaw import Seesaw
from semscale_pl.losses.sigmoid_focal import SigmoidFocal

__all__ = [
    "LDAM",
    "BalancedSoftmax",
    "CrossEntropy",
    "Equalization",
    "Focal",
    "LogitAdjusted",
    "PerSampleLoss",
    "Seesaw",
    "SigmoidFocal",
    "posthoc_logits",
]
