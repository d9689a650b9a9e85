"""Semantic scale: the volume of a class's features, the distances between classes, and what follows from both.

Every function computes in float64 and returns float64 tensors without gradient, whatever floating dtype comes in; what
users call themselves takes arrays and lists as well as tensors.
"""

from __future__ import annotations

from semscale_pl.geometry.class_covariances import ClassCovariances, class_covariances, leading_directions
from semscale_pl.geometry.classes import (
    ClassGeometry,
    centre_distances,
    class_centres,
    class_geometry,
    interclass_weights,
    scales_from_moments,
    semantic_scale_imbalance,
    semantic_scales,
)
from semscale_pl.geometry.discriminant import (
    Discriminant,
    DiscriminantMoments,
    DiscriminantSettings,
    estimated_shrinkage,
    gaussian_discriminant,
)
from semscale_pl.geometry.leave_one_out import choose_open, choose_settings, leave_one_out_scores
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.geometry.samples import pool_features, sample_volumes
from semscale_pl.geometry.volumes import Ratio, parallelotope_volume, semantic_scale, volume

__all__ = [
    "ClassCovariances",
    "ClassGeometry",
    "ClassMoments",
    "Discriminant",
    "DiscriminantMoments",
    "DiscriminantSettings",
    "Ratio",
    "centre_distances",
    "choose_open",
    "choose_settings",
    "class_centres",
    "class_covariances",
    "class_geometry",
    "estimated_shrinkage",
    "gaussian_discriminant",
    "interclass_weights",
    "leading_directions",
    "leave_one_out_scores",
    "parallelotope_volume",
    "pool_features",
    "sample_volumes",
    "scales_from_moments",
    "semantic_scale",
    "semantic_scale_imbalance",
    "semantic_scales",
    "volume",
]
