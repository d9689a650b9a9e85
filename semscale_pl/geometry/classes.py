"""Classes of features: semantic scales S', centres, inter-class weights W and imbalance S, singly or all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semscale_pl.geometry.volumes import (
    BLOCK_ELEMENTS,
    Ratio,
    bits_of_grams,
    bits_of_singular_values,
    num_lines,
    raised_bits_of_grams,
    scale_factor,
    scaled_volume,
)
from semscale_pl.labels import Labels, class_numbers
from semscale_pl.options import check
from semscale_pl.validation import ArrayLike, as_features, as_tensor, check_labels

# Rows of a block of distances: few enough that little is computed on both sides of the diagonal.
_MOST_ROWS = 128


@dataclass(frozen=True, eq=False)
class ClassGeometry:
    """What the semantic scale says of every class.

    Args:
        counts: (C,) int64 samples.
        scales: (C,) semantic scales S' in bits; NaN for an absent class, 0 for a single sample.
        centres: (C, d) means, NaN rows for absent classes.
        interclass_weights: (C,) W, see :func:`interclass_weights`.
        imbalance: (C,) S = (S' / max S') W, see :func:`semantic_scale_imbalance`.
    """

    counts: Tensor
    scales: Tensor
    centres: Tensor
    interclass_weights: Tensor
    imbalance: Tensor

    @classmethod
    def of(cls, counts: ArrayLike, scales: ArrayLike, centres: ArrayLike, alpha: float | None = 1.0) -> ClassGeometry:
        """Derive W and S where counts, scales and centres are known, as from a feature pool.

        Args:
            counts, scales, centres: see the class.
            alpha: of W, at least 1; None leaves the distances out: W is 1 for present classes.

        Raises:
            ValueError: alpha is below 1, or the shapes do not match.
        """
        counts, scales = as_tensor(counts, "counts"), as_tensor(scales, "scales")
        centres = as_tensor(centres, "centres")
        weights = scales * 0.0 + 1.0 if alpha is None else interclass_weights(centres, alpha)
        return cls(counts, scales, centres, weights, semantic_scale_imbalance(scales, weights))


@torch.no_grad()
def class_geometry(
    features: ArrayLike,
    labels: Labels,
    num_classes: int | None = None,
    *,
    alpha: float | None = 1.0,
    unit: float = 1.0,
    ratio: Ratio = "dim",
    estimator: str = "plain",
) -> ClassGeometry:
    """Compute the counts, scales S', centres, inter-class weights W and imbalance S of all classes.

    Args:
        features, labels, num_classes: see :func:`semantic_scales`.
        alpha: of W, at least 1; None leaves the distances out: W is 1 for present classes.
        unit, ratio, estimator: see :func:`semscale_pl.geometry.volumes.volume`.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, or a label, a feature or another argument is out of range.

    Example:
        >>> geometry = class_geometry([[0.0], [2.0], [7.0]], ["cat", "cat", "dog"])
        >>> geometry.scales, geometry.imbalance
        (tensor([0.5000, 0.0000], dtype=torch.float64), tensor([1., 0.], dtype=torch.float64))

    Reference: Ma et al. (ICLR 2023), sections 2 and 3.
    """
    features, labels, counts = _checked(features, labels, num_classes)
    scales = _scales(features, labels, counts, unit, ratio, estimator)
    return ClassGeometry.of(counts, scales, _centres(features, labels, counts), alpha)


@torch.no_grad()
def semantic_scales(
    features: ArrayLike,
    labels: Labels,
    num_classes: int | None = None,
    *,
    unit: float = 1.0,
    ratio: Ratio = "dim",
    estimator: str = "plain",
) -> Tensor:
    """Compute the semantic scale of every class, many classes at a time.

    Args:
        features: (N, d), in any order: a tensor, an array or nested lists.
        labels: (N,) class numbers in [0, C), or words, whose classes are numbered in the sorted order of the names.
        num_classes: C; where it is not given, the largest number plus 1, or the number of different words.
        unit, ratio, estimator: see :func:`semscale_pl.geometry.volumes.volume`.

    Returns:
        (C,) bits; NaN for an absent class, 0 for a single sample.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, or a label, a feature or another argument is out of range.

    Example:
        >>> semantic_scales(torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([0, 0, 2]), 3)
        tensor([0.5000,    nan, 0.0000], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    return _scales(*_checked(features, labels, num_classes), unit, ratio, estimator)


@torch.no_grad()
def class_centres(features: ArrayLike, labels: Labels, num_classes: int | None = None) -> Tensor:
    """Compute the mean feature of every class.

    Args:
        features, labels, num_classes: see :func:`semantic_scales`.

    Returns:
        (C, d) float64, NaN rows for absent classes.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, a label is out of range, or the features are not finite.

    Example:
        >>> class_centres(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]), 2)
        tensor([[nan],
                [2.]], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 3, inter-class interference.
    """
    return _centres(*_checked(features, labels, num_classes))


@torch.no_grad()
def centre_distances(centres: ArrayLike) -> Tensor:
    """Compute the mean Euclidean distance of every class centre to those of the other present classes, w in the paper.

    Args:
        centres: (C, d), NaN rows for absent classes.

    Returns:
        (C,) float64; NaN for absent classes, 0 where there is no other.

    Raises:
        ValueError: the centres are not a matrix.

    Example:
        >>> centre_distances(torch.tensor([[0.0], [1.0], [4.0]]))
        tensor([2.5000, 2.0000, 3.5000], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 3, inter-class interference.
    """
    centres = as_tensor(centres, "centres")
    if centres.ndim != 2:
        raise ValueError(f"Expected `centres` of shape (classes, features), but got shape {tuple(centres.shape)}.")
    absent = centres.isnan().any(dim=1)
    present = ~absent
    known = centres.double().masked_fill(absent[:, None], 0.0)
    others = (present.sum() - 1).clamp_min(1)
    size = num_lines(len(known)) if centres.is_cuda else min(_MOST_ROWS, num_lines(len(known)))
    if 0 < len(known) <= size:  # in as few operations as it takes
        distances = torch.cdist(known, known, compute_mode="donot_use_mm_for_euclid_dist")
        distances *= present
        return (distances.sum(1) / others).masked_fill_(absent, math.nan)
    sums = torch.zeros_like(known[:, 0])
    for start in range(0, len(known), size):
        # Differences, not the faster expansion |a|^2 + |b|^2 - 2ab: two equal centres are exactly 0 apart. A distance
        # to a later block counts for both ends, so that half of them suffice. Absent classes are masked, not left out:
        # their number would have to come from the device.
        rows, rest = known[start : start + size], known[start:]
        distances = torch.cdist(rows, rest, compute_mode="donot_use_mm_for_euclid_dist")
        distances *= present[start : start + size, None] & present[start:]
        sums[start : start + size] += distances.sum(1)
        sums[start + size :] += distances[:, size:].sum(0)
    return (sums / others).masked_fill_(absent, math.nan)


@torch.no_grad()
def interclass_weights(centres: ArrayLike, alpha: float = 1.0) -> Tensor:
    """Compute the inter-class weights W = log2(alpha + W' / max W').

    Args:
        centres: (C, d), NaN rows for absent classes.
        alpha: at least 1; the larger, the weaker the role of the distances.

    Returns:
        (C,) float64, NaN for absent classes. With one class, or no distance at all, W' counts as 1.

    Raises:
        ValueError: alpha is below 1, or the centres are not a matrix.

    Example:
        >>> interclass_weights(torch.tensor([[0.0], [1.0]]))
        tensor([1., 1.], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 3, inter-class interference.
    """
    check(alpha=alpha)
    distances = centre_distances(centres)
    largest = _largest(distances)
    # Where no distance is above 0, 1 more than it is 1, and NaN for absent classes.
    relative = torch.where(largest > 0, distances / largest, 1.0 + distances)
    return torch.log2(alpha + relative)


@torch.no_grad()
def semantic_scale_imbalance(scales: ArrayLike, weights: ArrayLike) -> Tensor:
    """Compute the semantic scale imbalance S = (S' / max S') * W.

    Args:
        scales: (C,) semantic scales S' in bits, NaN for absent classes.
        weights: (C,) inter-class weights W.

    Returns:
        (C,) float64, without unit; NaN for absent classes, 0 everywhere where all scales are 0.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> semantic_scale_imbalance(torch.tensor([4.0, 2.0]), torch.tensor([1.0, 0.5]))
        tensor([1.0000, 0.2500], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 3.
    """
    scales, weights = as_tensor(scales, "scales"), as_tensor(weights, "weights")
    if scales.ndim != 1 or scales.shape != weights.shape:
        raise ValueError(
            f"Expected `scales` and `weights` of one shape (C,), but got {tuple(scales.shape)} and "
            f"{tuple(weights.shape)}."
        )
    scales = scales.double()
    largest = _largest(scales)
    return torch.where(largest > 0, scales / largest, scales) * weights.double()


@torch.no_grad()
def scales_from_moments(
    counts: Tensor,
    scatter: Tensor,
    *,
    unit: float | Tensor = 1.0,
    ratio: Ratio = "dim",
    estimator: str = "plain",
    fixed_shapes: bool = False,
) -> Tensor:
    """Compute the semantic scales of classes of which only counts and scatter matrices are known.

    Args:
        counts: (K,).
        scatter: (K, d, d) float64 sums of the outer products of the centred samples.
        unit, ratio, estimator: see :func:`semscale_pl.geometry.volumes.volume`; the unit may be a () tensor.
        fixed_shapes: never wait for the device: a matrix that rounding has left indefinite (features of 1e7 and more)
            is then raised by its rounding error instead of decomposed into eigenvalues.

    Returns:
        (K,) bits; NaN where a count is 0, 0 where it is 1.

    Raises:
        ValueError: the shapes do not match, or a setting is out of range.

    Example:
        >>> scales_from_moments(torch.tensor([2, 0]), torch.tensor([[[2.0]], [[0.0]]]))
        tensor([0.5000,    nan], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 2; Chen et al. (IEEE TSP 2010), eq. 23 for OAS.
    """
    dim = scatter.shape[-1]
    if counts.ndim != 1 or scatter.shape != (counts.shape[0], dim, dim):
        raise ValueError(
            f"Expected `counts` (K,) and `scatter` (K, d, d), but got {tuple(counts.shape)} and {tuple(scatter.shape)}."
        )
    length, by = (1.0, unit) if isinstance(unit, Tensor) else (unit, None)
    factors = scale_factor(dim, length, ratio, estimator) ** 2 / counts.double().clamp_min(1.0)
    factors = factors if by is None else factors / by.square()
    lines = num_lines(dim * dim)
    if len(counts) <= lines:
        bits = _bits_of_scatter(scatter, factors, counts, dim, estimator, fixed_shapes)
    else:
        parts = zip(scatter.split(lines), factors.split(lines), counts.split(lines), strict=True)
        bits = torch.cat([_bits_of_scatter(*part, dim, estimator, fixed_shapes) for part in parts])
    # The scatter of a single sample is 0 up to the rounding of whoever kept the sums.
    return bits.masked_fill_(counts == 1, 0.0).masked_fill_(counts == 0, math.nan)


def _largest(values: Tensor) -> Tensor:
    """Return the largest defined value; 0 where there is none."""
    return values.nan_to_num(nan=0.0).max() if len(values) else values.new_zeros(())


def _checked(features: ArrayLike, labels: Labels, num_classes: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Turn what a user has into a finite matrix (N, d), int64 class numbers (N,) beside it, and the counts (C,)."""
    features = as_features(features)
    labels, num_classes = class_numbers(labels, num_classes)
    num_classes = check_labels(labels, features.shape[0], num_classes)
    labels = labels.to(features.device, torch.int64)
    return features, labels, torch.bincount(labels, minlength=num_classes)


def _scales(features: Tensor, labels: Tensor, counts: Tensor, unit: float, ratio: Ratio, estimator: str) -> Tensor:
    """Compute the scales (C,) of checked features, many classes at a time."""
    dim = features.shape[1]
    factor = scale_factor(dim, unit, ratio, estimator)
    sizes, order = counts.tolist(), labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    scales = torch.full_like(counts, math.nan, dtype=torch.float64)
    alone: list[int] = []
    for batch in _batches(sizes, dim):
        if sizes[batch[-1]] * dim > BLOCK_ELEMENTS:
            alone += batch
            continue
        classes = torch.tensor(batch, device=features.device)
        grams = _padded_grams(features, order, starts[classes], counts[classes], sizes[batch[-1]], factor)
        scales[classes], exact = bits_of_grams(grams, counts[classes], dim, estimator)
        alone += classes[~exact].tolist()
    for label in alone:
        rows = order[starts[label] : starts[label] + sizes[label]]
        scales[label] = scaled_volume(features[rows], factor / math.sqrt(sizes[label]), True, estimator)
    return scales


def _centres(features: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Compute the means (C, d) of checked features, NaN rows for absent classes."""
    sums = features.new_zeros((len(counts), features.shape[1]), dtype=torch.float64)
    size = num_lines(features.shape[1])
    for rows, row_labels in zip(features.split(size), labels.split(size), strict=True):
        sums.index_add_(0, row_labels, rows.double())
    return sums / torch.where(counts > 0, counts.double(), math.nan)[:, None]


def _batches(sizes: list[int], dim: int) -> Iterator[list[int]]:
    """Group the present classes, smallest first, so that a padded batch fits a block and little of it is padding."""
    group: list[int] = []
    for label in sorted((c for c, size in enumerate(sizes) if size), key=sizes.__getitem__):
        size, smallest = sizes[label], sizes[group[0]] if group else sizes[label]
        is_full = (len(group) + 1) * size * dim > BLOCK_ELEMENTS
        if group and (is_full or size > 2 * smallest + 8 or (size < dim) != (smallest < dim)):
            yield group
            group = []
        group.append(label)
    if group:
        yield group


def _padded_grams(features: Tensor, order: Tensor, starts: Tensor, counts: Tensor, size: int, factor: float) -> Tensor:
    """Return the smaller Gram matrices of K classes of at most ``size`` rows; rows of zeros add nothing to I + G."""
    steps = torch.arange(size, device=features.device)
    present = (steps < counts[:, None])[..., None]
    samples = features[order[starts[:, None] + steps.minimum(counts[:, None] - 1)]].double()  # (K, size, d)
    samples = samples.sub(samples[:, :1].clone()).mul_(present)
    samples = samples.sub_(samples.sum(1, keepdim=True) / counts[:, None, None]).mul_(present)
    samples = samples.mul_(factor / counts.double().sqrt()[:, None, None])
    return samples @ samples.mT if size < features.shape[1] else samples.mT @ samples


def _bits_of_scatter(
    scatter: Tensor, factors: Tensor, counts: Tensor, dim: int, estimator: str, fixed_shapes: bool
) -> Tensor:
    grams = scatter.double() * factors[:, None, None]
    if fixed_shapes:
        return raised_bits_of_grams(grams, counts, dim, estimator)
    bits, _ = bits_of_grams(grams, counts, dim, estimator)
    failed = ~bits.isfinite()  # rounding has left an eigenvalue of I + G below 0
    if bool(failed.any()):
        values = torch.linalg.eigvalsh(grams[failed]).clamp_min(0.0).sqrt()
        bits[failed] = bits_of_singular_values(values, counts[failed], dim, estimator)
    return bits
