"""Semantic scales of all classes: from features in padded batches of classes of like size, or from moments."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from semscale_pl.gram import BLOCK_ELEMENTS, num_lines
from semscale_pl.logdet import bits_of_grams, bits_of_singular_values
from semscale_pl.validation import check_features, check_labels
from semscale_pl.volumes import Ratio, root_of, scaled_volume


@torch.no_grad()
def semantic_scales(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    unit: float = 1.0,
    ratio: Ratio = "dim",
    estimator: str = "plain",
) -> Tensor:
    """Compute the semantic scale of every class, many classes at a time.

    Args:
        features: (N, d), in any order.
        labels: (N,) integers in [0, C).
        num_classes: C.
        unit: see :func:`semscale_pl.geometry.volume`.
        ratio: see :func:`semscale_pl.geometry.volume`.
        estimator: see :func:`semscale_pl.geometry.volume`.

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
    check_features(features)
    check_labels(labels, features.shape[0], num_classes)
    dim = features.shape[1]
    root = root_of(dim, unit, ratio, estimator)
    counts = torch.bincount(labels.long(), minlength=num_classes)
    sizes, order = counts.tolist(), labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    scales = torch.full((num_classes,), math.nan, dtype=torch.float64, device=features.device)
    alone: list[int] = []
    for batch in _batches(sizes, dim):
        if sizes[batch[-1]] * dim > BLOCK_ELEMENTS:
            alone += batch
            continue
        classes = torch.tensor(batch, device=features.device)
        grams = _padded_grams(features, order, starts[classes], counts[classes], sizes[batch[-1]], root)
        scales[classes], exact = bits_of_grams(grams, counts[classes], dim, estimator)
        alone += classes[~exact].tolist()
    for label in alone:
        rows = order[starts[label] : starts[label] + sizes[label]]
        scales[label] = scaled_volume(features[rows], root / math.sqrt(sizes[label]), True, estimator)
    return scales


@torch.no_grad()
def scales_from_moments(
    counts: Tensor, scatter: Tensor, *, unit: float = 1.0, ratio: Ratio = "dim", estimator: str = "plain"
) -> Tensor:
    """Compute the semantic scales of classes of which only counts and scatter matrices are known.

    Args:
        counts: (K,) samples of each class.
        scatter: (K, d, d) float64 sums of the outer products of the centred samples.
        unit: see :func:`semscale_pl.geometry.volume`.
        ratio: see :func:`semscale_pl.geometry.volume`.
        estimator: see :func:`semscale_pl.geometry.volume`.

    Returns:
        (K,) bits; NaN where a count is 0, 0 where it is 1.

    Raises:
        ValueError: the shapes do not match, or another argument is out of range.

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
    factors = root_of(dim, unit, ratio, estimator) ** 2 / counts.double().clamp_min(1.0)
    lines = num_lines(dim * dim)
    parts = zip(scatter.split(lines), factors.split(lines), counts.split(lines), strict=True)
    bits = torch.cat([_bits_of_scatter(*part, dim, estimator) for part in parts])
    # The scatter of a single sample is 0 up to the rounding of whoever kept the sums.
    return torch.where(counts > 1, bits, torch.where(counts > 0, 0.0, math.nan))


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


def _padded_grams(features: Tensor, order: Tensor, starts: Tensor, counts: Tensor, size: int, root: float) -> Tensor:
    """Return the smaller Gram matrices of K classes of at most ``size`` rows; rows of zeros add nothing to I + G."""
    steps = torch.arange(size, device=features.device)
    present = (steps < counts[:, None])[..., None]
    samples = features[order[starts[:, None] + steps.minimum(counts[:, None] - 1)]].double()  # (K, size, d)
    samples = samples.sub(samples[:, :1].clone()).mul_(present)
    samples = samples.sub_(samples.sum(1, keepdim=True) / counts[:, None, None]).mul_(present)
    samples = samples.mul_(root / counts.double().sqrt()[:, None, None])
    return samples @ samples.mT if size < features.shape[1] else samples.mT @ samples


def _bits_of_scatter(scatter: Tensor, factors: Tensor, counts: Tensor, dim: int, estimator: str) -> Tensor:
    grams = scatter.double() * factors[:, None, None]
    bits, _ = bits_of_grams(grams, counts, dim, estimator)
    failed = ~bits.isfinite()
    if bool(failed.any()):  # rounding has left an eigenvalue of I + G below 0
        values = torch.linalg.eigvalsh(grams[failed]).clamp_min(0.0).sqrt()
        bits[failed] = bits_of_singular_values(values, counts[failed], dim, estimator)
    return bits
