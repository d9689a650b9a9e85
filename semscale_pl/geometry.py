"""Semantic scale: the volume of a class's features, the distances between classes, and what follows from both.

Every function computes in float64 and returns float64, whatever floating dtype comes in.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semscale_pl.logdet import half_logdet_bits, rows_half_logdet_bits
from semscale_pl.validation import check_features, check_finite, check_labels, check_unit, resolve_ratio

Ratio = float | Literal["dim"]
ESTIMATORS = ("plain", "shrunk")
_CHUNK_ELEMENTS = 1 << 22


def volume(features: Tensor, *, unit: float = 1.0, ratio: Ratio = "dim", center: bool = True) -> Tensor:
    """Return the volume of the space that features span, in bits: 1/2 log2 det(I + ratio/(m unit^2) Z Z^T).

    Args:
        features: (m, d), m >= 1.
        unit: length of the ruler, in the features' own unit.
        ratio: ``"dim"`` for the paper's d/m; a float r for r/m (the authors' package has 1.0).
        center: whether the mean is taken off first.

    Returns:
        () bits, float64.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, or unit or ratio are not above 0.

    Example:
        >>> round(volume(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 6)  # 1/2 log2(1 + 2/2 * 2)
        0.792481

    Reference: Ma et al. (ICLR 2023), section 2 and appendix G.
    """
    check_features(features)
    check_unit(unit)
    num_rows, dim = features.shape
    if num_rows == 0:
        raise ValueError(f"Expected at least one row of features, but got shape {tuple(features.shape)}.")
    if center and num_rows == 1:
        return features.new_zeros((), dtype=torch.float64)
    mean = _mean(features) if center else features.new_zeros(dim, dtype=torch.float64)
    return rows_half_logdet_bits(features, mean, resolve_ratio(ratio, dim) / num_rows / unit**2)


def semantic_scale(features: Tensor) -> Tensor:
    """Return the semantic scale S' of one class: the volume of its centred features.

    Args:
        features: (m, d).

    Returns:
        () bits, float64; 0 for a single sample.

    Reference: Ma et al. (ICLR 2023), section 2, S' = Vol(Z).
    """
    return volume(features)


def semantic_scales(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    unit: float = 1.0,
    ratio: Ratio = "dim",
    estimator: str = "plain",
) -> Tensor:
    """Return the semantic scale of every class.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        unit: length of the ruler.
        ratio: ``"dim"`` or a float, see :func:`volume`.
        estimator: ``plain``, or ``shrunk`` for the OAS-shrunk covariance.

    Returns:
        (C,) bits, float64; NaN for an absent class, 0 for a single sample.

    Raises:
        TypeError: wrong kind of tensor.
        ValueError: wrong shape, label, value or estimator.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    check_features(features)
    check_labels(labels, features.shape[0], num_classes)
    _check_estimator(estimator)
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels, minlength=num_classes)
    scales = features.new_full((num_classes,), float("nan"), dtype=torch.float64)
    start = 0
    for label, count in enumerate(counts.tolist()):
        if count:
            rows = features[order[start : start + count]]
            if estimator == "plain":
                scales[label] = volume(rows, unit=unit, ratio=ratio)
            else:
                centred = rows.double() - _mean(rows)
                scatter = (centred.T @ centred)[None]
                scales[label] = scales_from_moments(counts[label : label + 1], scatter, unit=unit, ratio=ratio, estimator=estimator)[0]
        start += count
    return scales


def scales_from_moments(
    counts: Tensor, scatter: Tensor, *, unit: float = 1.0, ratio: Ratio = "dim", estimator: str = "plain"
) -> Tensor:
    """Return the semantic scales of classes of which only counts and scatter matrices are known.

    Args:
        counts: (K,) samples of each class.
        scatter: (K, d, d) float64 sums of the outer products of the centred samples.
        unit: length of the ruler.
        ratio: ``"dim"`` or a float, see :func:`volume`.
        estimator: ``plain``, or ``shrunk`` (OAS, from count, trace and squared trace alone).

    Returns:
        (K,) bits, float64; NaN where a count is 0.

    Reference: Ma et al. (ICLR 2023), section 2; Chen et al. (IEEE TSP 2010), eq. 23 for OAS.
    """
    _check_estimator(estimator)
    check_unit(unit)
    dim = scatter.shape[-1]
    safe = counts.clamp_min(1).to(torch.float64)
    covariance = scatter / safe[:, None, None]
    if estimator == "shrunk":
        covariance = _shrink(covariance, safe)
    bits = half_logdet_bits(covariance * (resolve_ratio(ratio, dim) / unit**2))
    return torch.where(counts > 0, torch.where(counts > 1, bits, 0.0), float("nan"))


def class_centres(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the mean feature of every class.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.

    Returns:
        (C, d) float64, NaN rows for absent classes.
    """
    check_features(features)
    check_labels(labels, features.shape[0], num_classes)
    sums = features.new_zeros((num_classes, features.shape[1]), dtype=torch.float64)
    size = max(1, _CHUNK_ELEMENTS // features.shape[1])
    for rows, row_labels in zip(features.split(size), labels.split(size), strict=True):
        sums.index_add_(0, row_labels.long(), rows.double())
    counts = torch.bincount(labels, minlength=num_classes)
    return sums / torch.where(counts > 0, counts.double(), float("nan"))[:, None]


def centre_distances(centres: Tensor) -> Tensor:
    """Return the mean Euclidean distance of every class centre to the other present ones, w in the paper.

    Args:
        centres: (C, d), NaN rows for absent classes.

    Returns:
        (C,) float64, NaN for absent classes; 0 where there is no other class.
    """
    present = ~centres.isnan().any(dim=1)
    known = centres[present].double()
    # Distances do not feel a shift, and small coordinates round less.
    known = known - known.mean(dim=0) if known.shape[0] else known
    rows = max(1, _CHUNK_ELEMENTS // max(1, known.shape[0]))
    parts = [torch.cdist(part, known, compute_mode="donot_use_mm_for_euclid_dist").sum(1) for part in known.split(rows)]
    result = centres.new_full((centres.shape[0],), float("nan"), dtype=torch.float64)
    if parts:
        result[present] = torch.cat(parts) / max(1, known.shape[0] - 1)
    return result


def interclass_weights(centres: Tensor, alpha: float = 1.0) -> Tensor:
    """Return the inter-class weights W = log2(alpha + W' / max W').

    Args:
        centres: (C, d), NaN rows for absent classes.
        alpha: at least 1; the larger, the weaker the role of the distances.

    Returns:
        (C,) float64, NaN for absent classes. One class, or no distance at all, counts as W' = 1.

    Raises:
        ValueError: alpha is below 1, or the centres are no matrix.

    Reference: Ma et al. (ICLR 2023), section 3, inter-class interference.
    """
    if not alpha >= 1.0:
        raise ValueError(f"Expected `alpha` to be at least 1, but got {alpha}.")
    if centres.ndim != 2:
        raise ValueError(f"Expected `centres` of shape (classes, features), but got shape {tuple(centres.shape)}.")
    distances = centre_distances(centres)
    largest = distances.nan_to_num(nan=0.0).max() if distances.numel() else distances.new_zeros(())
    relative = torch.where(largest > 0, distances / largest, torch.where(distances.isnan(), distances, 1.0))
    return torch.log2(alpha + relative)


def semantic_scale_imbalance(scales: Tensor, weights: Tensor) -> Tensor:
    """Return S = (S' / max S') * W.

    Args:
        scales: (C,) semantic scales S' in bits, NaN for absent classes.
        weights: (C,) inter-class weights W.

    Returns:
        (C,) float64, NaN for absent classes; 0 everywhere where all scales are 0.

    Raises:
        ValueError: the shapes differ.

    Reference: Ma et al. (ICLR 2023), section 3.
    """
    if scales.ndim != 1 or scales.shape != weights.shape:
        raise ValueError(
            f"Expected `scales` and `weights` of one shape (C,), but got {tuple(scales.shape)} and {tuple(weights.shape)}."
        )
    scales = scales.double()
    largest = scales.nan_to_num(nan=0.0).max() if scales.numel() else scales.new_zeros(())
    return scales / largest.clamp_min(torch.finfo(torch.float64).tiny) * weights.double()


def sample_volumes(images: Tensor, labels: Tensor, num_classes: int, image_size: int = 16) -> Tensor:
    """Return the sample volume of every class: the semantic scale of its resized pixels, without any model.

    Args:
        images: (N, channels, height, width) floats in [0, 1].
        labels: (N,) integers in [0, C).
        num_classes: C.
        image_size: side of the resized images; d = image_size^2 * channels.

    Returns:
        (C,) bits, float64; NaN for an absent class, 0 for a single image.

    Raises:
        TypeError: the images are not floating point.
        ValueError: another shape, or pixels outside [0, 1].

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1.
    """
    if images.ndim != 4:
        raise ValueError(f"Expected `images` of shape (N, channels, height, width), but got {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise TypeError(f"Expected `images` as floats in [0, 1], but got {images.dtype}. Divide bytes by 255.")
    check_finite(images, "images")
    if images.numel() and (float(images.min()) < -1e-6 or float(images.max()) > 1 + 1e-6):
        raise ValueError(
            f"Expected pixels in [0, 1], but got {float(images.min()):g} to {float(images.max()):g}. "
            "Pass the images before normalisation."
        )
    size = (image_size, image_size)
    resized = torch.nn.functional.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    return semantic_scales(resized.flatten(1), labels, num_classes)


def parallelotope_volume(vectors: Tensor) -> Tensor:
    """Return the volume sqrt(det(Z^T Z)) of the parallelotope that k vectors span.

    Args:
        vectors: (n, k), one vector a column.

    Returns:
        () float64: the length for k = 1, abs(det) for k = n, 0 for k > n.

    Reference: Ma et al. (ICLR 2023), appendix G.
    """
    check_features(vectors, "vectors")
    if vectors.shape[1] > vectors.shape[0]:
        return vectors.new_zeros((), dtype=torch.float64)
    # det(Z^T Z) is the squared product of the diagonal of the triangular factor, without squaring the condition.
    return torch.linalg.qr(vectors.double(), mode="r").R.diagonal().abs().prod()


def pool_features(features: Tensor, num_features: int = 64) -> Tensor:
    """Average features down to fewer dimensions, along the feature axis.

    Args:
        features: (B, D).
        num_features: wanted dimensions.

    Returns:
        (B, min(D, num_features)) in the dtype of the features; untouched where D is small enough.

    Reference: Ma et al. (ICLR 2023), section 4.2.
    """
    if num_features < 1:
        raise ValueError(f"Expected `num_features` to be at least 1, but got {num_features}.")
    if features.shape[1] <= num_features:
        return features
    return torch.nn.functional.adaptive_avg_pool1d(features[:, None], num_features)[:, 0]


def _shrink(covariance: Tensor, counts: Tensor) -> Tensor:
    """Shrink (K, d, d) covariances towards a multiple of the identity by the oracle approximating rule."""
    dim = covariance.shape[-1]
    mean_variance = covariance.diagonal(dim1=-2, dim2=-1).sum(-1) / dim
    mean_square = covariance.square().sum(dim=(-2, -1)) / dim**2
    numerator = mean_square + mean_variance.square()
    denominator = (counts + 1.0) * (mean_square - mean_variance.square() / dim)
    share = torch.where(denominator > 0, (numerator / denominator).clamp(max=1.0), 1.0)[:, None, None]
    target = torch.eye(dim, dtype=covariance.dtype, device=covariance.device) * mean_variance[:, None, None]
    return (1.0 - share) * covariance + share * target


def _mean(features: Tensor) -> Tensor:
    """Average in two passes: the second catches what rounding left of a large offset."""
    first = features.mean(dim=0, dtype=torch.float64)
    rest = torch.zeros_like(first)
    for part in features.split(max(1, _CHUNK_ELEMENTS // features.shape[1])):
        rest += (part.double() - first).sum(dim=0)
    return first + rest / features.shape[0]


def _check_estimator(estimator: str) -> None:
    if estimator not in ESTIMATORS:
        raise ValueError(f"Expected `estimator` to be one of {ESTIMATORS}, but got {estimator!r}.")
