"""Parts of one class: its rows in few coordinates, and the volumes of many subsets of them at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from semscale_pl.geometry.volumes import bits_of_grams, centred, num_lines, scaled_volume
from semscale_pl.validation import check_features, check_labels


def members_of(features: Tensor, labels: Tensor, num_classes: int) -> Iterator[Tensor]:
    """Check features (N, d) and labels (N,) in [0, C), then yield the rows (m, d) of each class, m = 0 where absent.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, a label is out of range, or the features are not finite.
    """
    check_features(features)
    check_labels(labels, features.shape[0], num_classes)
    counts = torch.bincount(labels.long(), minlength=num_classes).tolist()
    for rows in labels.argsort(stable=True).split(counts):
        yield features[rows]


def coordinates(rows: Tensor) -> Tensor:
    """Return centred rows (m, d) in coordinates of their own span, (m, min(m, d)) float64.

    All distances, and so all volumes, stay as they are.

    Example:
        >>> coordinates(torch.tensor([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0]])).abs().sum(1)
        tensor([3., 3.], dtype=torch.float64)
    """
    points = centred(rows.double(), 1.0)
    if points.shape[0] >= points.shape[1]:
        return points
    return torch.linalg.qr(points.T, mode="r").R.T


def random_subsets(num_rows: int, size: int, repeats: int, generator: torch.Generator) -> Tensor:
    """Draw subsets without replacement, each independent of the others: (repeats, size) row indices."""
    return torch.stack([torch.randperm(num_rows, generator=generator)[:size] for _ in range(repeats)])


def bits_of_subsets(points: Tensor, subsets: Tensor, dim: int) -> Tensor:
    """Compute the semantic scale of every subset.

    Args:
        points: (m, k) float64, of :func:`coordinates`.
        subsets: (R, size) row indices.
        dim: d of the features, for the factor d/m.

    Returns:
        (R,) bits.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    size = subsets.shape[1]
    scale = math.sqrt(dim / size)
    parts = []
    for chosen in subsets.split(num_lines(size * points.shape[1])):
        samples = points[chosen]  # (R, size, k)
        samples = samples.sub(samples[:, :1].clone())  # identical rows give exact zeros
        samples = samples.sub_(samples.mean(1, keepdim=True)).mul_(scale)
        grams = samples @ samples.mT if size < points.shape[1] else samples.mT @ samples
        bits, exact = bits_of_grams(grams, torch.full((len(chosen),), size), dim)
        for inexact in (~exact).nonzero().flatten().tolist():
            bits[inexact] = scaled_volume(points[chosen[inexact]], scale, True, "plain")
        parts.append(bits)
    return torch.cat(parts)
