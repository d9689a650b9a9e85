"""Second stages: a new head on the features that a trained network gives, without training the network again."""

from __future__ import annotations

from semscale_pl.heads.adjusting import LogitAdjustment, NearestMean, TauNormalization
from semscale_pl.heads.fusing import Fused, Gaussian
from semscale_pl.heads.recipe import Finished, Recipe, Samples, Trained
from semscale_pl.heads.retraining import LearnableWeightScaling, Retraining

__all__ = [
    "Finished",
    "Fused",
    "Gaussian",
    "LearnableWeightScaling",
    "LogitAdjustment",
    "NearestMean",
    "Recipe",
    "Retraining",
    "Samples",
]
__all__ += ["TauNormalization", "Trained"]
