"""Semantic scale imbalance for PyTorch Lightning: measure it, train against it, and find out whether that helped."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from semscale_pl import torchvision_operators

torchvision_operators.install()

__version__ = "0.1.0"

# Public name to the module that defines it. Resolved on first use, so that `semscale help` and a wrong call answer
# before torch and Lightning are imported.
_EXPORTS = {
    "volume": "geometry",
    "semantic_scale": "geometry",
    "semantic_scales": "geometry",
    "class_centres": "geometry",
    "class_geometry": "geometry",
    "ClassGeometry": "geometry",
    "interclass_weights": "geometry",
    "semantic_scale_imbalance": "geometry",
    "sample_volumes": "geometry",
    "parallelotope_volume": "geometry",
    "pool_features": "geometry",
    "measure": "measuring.measuring",
    "class_weights": "measuring.class_weights",
    "scales_to_weights": "imbalance",
    "normalize_weights": "imbalance",
    "long_tail_counts": "imbalance",
    "effective_numbers": "imbalance",
    "ClassMoments": "geometry",
    "StepInputs": "weighting",
    "StepTerms": "weighting",
    "Weighting": "weighting",
    "WeightingReport": "weighting",
    "adjusted_logits": "weighting",
    "terms_of": "weighting",
    "weighted_mean": "weighting",
    "FeaturePool": "pool",
    "GaussianHead": "heads.gaussian",
    "fused_scores": "heads.fusing",
    "score_spread": "heads.fusing",
    "ImbalancedClassifier": "modules.classifier",
    "SemanticScaleReweighting": "callbacks.reweighting.semantic_scale",
    "FrequencyReweighting": "callbacks.reweighting.frequency",
    "DifficultyReweighting": "callbacks.reweighting.difficulty",
    "ScoreReweighting": "callbacks.reweighting.score",
    "EffectiveAreaReweighting": "callbacks.reweighting.effective_area",
    "SampleVolumeReweighting": "callbacks.reweighting.sample_volume",
    "ScalePriorReweighting": "callbacks.reweighting.semantic_scale",
    "CriterionSlot": "callbacks.reweighting.criterion_slot",
    "RunRecorder": "callbacks.recording.recorder",
    "StepSeed": "callbacks.step_seed",
    "ImbalancedDataModule": "data.datamodule",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names alone, also after submodules have been imported."""
    return sorted(__all__)
