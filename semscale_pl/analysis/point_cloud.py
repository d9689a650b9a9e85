"""What S' of a point cloud does when the cloud grows, gets noisy, or loses points: the paper's look at a manifold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from semscale_pl.geometry import semantic_scale
from semscale_pl.seeding import derive_seed

_NOISE, _SUBSAMPLE = 1, 2


def normalised(points: Tensor) -> Tensor:
    """Move a cloud's centre to the origin and give its points a root-mean-square distance of 1 from it.

    A scan comes in metres or millimetres, and S' depends on the unit; this one belongs to the cloud itself.

    Args:
        points: (m, d), not all equal.

    Returns:
        (m, d) float64.

    Raises:
        ValueError: the points are no matrix, or all equal.

    Example:
        >>> normalised(torch.tensor([[0.0], [4.0]])).flatten().tolist()
        [-1.0, 1.0]
    """
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"Expected `points` of shape (m, d) with m of at least 2, but got {tuple(points.shape)}.")
    centred = points.double() - points.double().mean(0)
    radius = centred.square().sum(1).mean().sqrt()
    if not float(radius) > 0.0:
        raise ValueError("Expected points that differ, but all are equal. Give a cloud with some extent.")
    return centred / radius


def scaled_clouds(points: Tensor, factors: Sequence[float]) -> list[float]:
    """Return S' of a cloud scaled about its centre.

    Args:
        points: (m, d).
        factors: (K,) at least 0.

    Returns:
        (K,) bits.

    Reference: Ma et al. (ICLR 2023), Figure 6 and appendix C.
    """
    centre = points.mean(0)
    return [float(semantic_scale(centre + factor * (points - centre))) for factor in factors]


def noisy_clouds(points: Tensor, deviations: Sequence[float], repeats: int = 5, seed: int = 0) -> list[list[float]]:
    """Return S' of a cloud whose points are all moved by independent Gaussian noise.

    Args:
        points: (m, d).
        deviations: (K,) standard deviation in each direction, at least 0.
        repeats: draws of each.
        seed: of the noise.

    Returns:
        (K, repeats) bits.
    """
    return [
        [
            float(semantic_scale(points + deviation * _normal(points, derive_seed(seed, _NOISE, step, repeat))))
            for repeat in range(repeats)
        ]
        for step, deviation in enumerate(deviations)
    ]


def subsampled_clouds(points: Tensor, sizes: Sequence[int], repeats: int = 20, seed: int = 0) -> list[list[float]]:
    """Return S' of random points of a cloud, drawn without replacement.

    Args:
        points: (m, d).
        sizes: (K,) points to draw, from 1 to m.
        repeats: draws of each.
        seed: of the draws.

    Returns:
        (K, repeats) bits.

    Raises:
        ValueError: a size is out of range.
    """
    if min(sizes) < 1 or max(sizes) > len(points):
        raise ValueError(f"Expected `sizes` in 1..{len(points)}, but got {min(sizes)}..{max(sizes)}.")
    found = []
    for step, size in enumerate(sizes):
        seeds = [derive_seed(seed, _SUBSAMPLE, step, repeat) for repeat in range(repeats)]
        draws = [torch.randperm(len(points), generator=torch.Generator().manual_seed(one))[:size] for one in seeds]
        found.append([float(semantic_scale(points[rows])) for rows in draws])
    return found


def predicted_noisy_scale(points: Tensor, deviation: float) -> float:
    """Return S' with the noise's variance added to every eigenvalue of the covariance: the noise's expected effect.

    Args:
        points: (m, d).
        deviation: standard deviation of the noise in each direction.

    Returns:
        bits, exact for many points.

    Example:
        >>> round(predicted_noisy_scale(torch.tensor([[0.0], [2.0]]), 1.0), 6)  # 1/2 log2(1 + 1 + 1)
        0.792481
    """
    centred = points.double() - points.double().mean(0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(points)) + deviation**2
    return float(0.5 * torch.log1p(points.shape[1] * variances).sum() / math.log(2.0))


def _normal(points: Tensor, seed: int) -> Tensor:
    return torch.randn(points.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
