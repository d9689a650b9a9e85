"""Class centres, the distances between them, and the inter-class weights that follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.gram import num_lines
from semscale_pl.validation import check_features, check_labels

# Of a block of distances: few enough that little is computed on both sides of the diagonal.
_MOST_ROWS = 128


@torch.no_grad()
def class_centres(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Compute the mean feature of every class.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.

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
    check_features(features)
    check_labels(labels, features.shape[0], num_classes)
    sums = features.new_zeros((num_classes, features.shape[1]), dtype=torch.float64)
    size = num_lines(features.shape[1])
    for rows, row_labels in zip(features.split(size), labels.split(size), strict=True):
        sums.index_add_(0, row_labels.long(), rows.double())
    counts = torch.bincount(labels.long(), minlength=num_classes).double()
    return sums / torch.where(counts > 0, counts, math.nan)[:, None]


@torch.no_grad()
def centre_distances(centres: Tensor) -> Tensor:
    """Compute the mean Euclidean distance of every class centre to those of the other present classes.

    Args:
        centres: (C, d), NaN rows for absent classes.

    Returns:
        (C,) float64 in the unit of the features, w in the paper; NaN for absent classes, 0 where there is no other.

    Raises:
        ValueError: the centres are not a matrix.

    Example:
        >>> centre_distances(torch.tensor([[0.0], [1.0], [4.0]]))
        tensor([2.5000, 2.0000, 3.5000], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 3, inter-class interference.
    """
    if centres.ndim != 2:
        raise ValueError(f"Expected `centres` of shape (classes, features), but got shape {tuple(centres.shape)}.")
    present = ~centres.isnan().any(dim=1)
    known = centres[present].double()
    sums = torch.zeros_like(known[:, 0])
    size = min(_MOST_ROWS, num_lines(known.shape[0]))
    for start in range(0, known.shape[0], size):
        # Differences, not the faster expansion |a|^2 + |b|^2 - 2ab: two equal centres are exactly 0 apart. A distance
        # to a later block counts for both ends, so that half of them suffice.
        rows, rest = known[start : start + size], known[start:]
        distances = torch.cdist(rows, rest, compute_mode="donot_use_mm_for_euclid_dist")
        sums[start : start + size] += distances.sum(1)
        sums[start + size :] += distances[:, size:].sum(0)
    means = torch.full((centres.shape[0],), math.nan, dtype=torch.float64, device=centres.device)
    means[present] = sums / max(1, known.shape[0] - 1)
    return means


@torch.no_grad()
def interclass_weights(centres: Tensor, alpha: float = 1.0) -> Tensor:
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
    if not 1.0 <= alpha < math.inf:
        raise ValueError(f"Expected `alpha` to be a finite number of at least 1, but got {alpha}.")
    distances = centre_distances(centres)
    largest = distances.nan_to_num(nan=0.0).max()
    # 0 * NaN keeps absent classes undefined.
    relative = torch.where(largest > 0, distances / largest, 1.0 + 0.0 * distances)
    return torch.log2(alpha + relative)


@torch.no_grad()
def semantic_scale_imbalance(scales: Tensor, weights: Tensor) -> Tensor:
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
    if scales.ndim != 1 or scales.shape != weights.shape:
        raise ValueError(
            f"Expected `scales` and `weights` of one shape (C,), but got {tuple(scales.shape)} and "
            f"{tuple(weights.shape)}."
        )
    scales = scales.double()
    largest = scales.nan_to_num(nan=0.0).max()
    return torch.where(largest > 0, scales / largest, scales) * weights.double()
