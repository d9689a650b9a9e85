"""Semantic scales of shrunk covariances: OAS, and the estimator of Ledoit and Wolf."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.analysis.subsamples import members_of
from semscale_pl.gram import centred_blocks, gram
from semscale_pl.scales import semantic_scales
from semscale_pl.validation import check_choice
from semscale_pl.volumes import scaled_volume

METHODS = ("oas", "ledoit_wolf")


@torch.no_grad()
def shrunk_scales(features: Tensor, labels: Tensor, num_classes: int, method: str = "oas") -> Tensor:
    """Compute each class's semantic scale from a covariance that is drawn towards a sphere where samples are few.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        method: ``oas`` (what ``estimator="shrunk"`` means elsewhere) or ``ledoit_wolf``.

    Returns:
        (C,) float64 bits; NaN for an absent class, 0 for a single sample.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, a value is out of range, or there is no such method.

    Example:
        >>> shrunk_scales(torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([0, 0, 2]), 3)
        tensor([0.5000,    nan, 0.0000], dtype=torch.float64)

    Reference: Chen et al. (IEEE TSP 2010), eq. 23; Ledoit and Wolf (Journal of Multivariate Analysis 2004), section 3.
    """
    check_choice(method, METHODS, "method")
    if method == "oas":
        return semantic_scales(features, labels, num_classes, estimator="shrunk")
    members = members_of(features, labels, num_classes)
    return torch.tensor([ledoit_wolf_scale(rows) for rows in members], dtype=torch.float64)


@torch.no_grad()
def ledoit_wolf_scale(rows: Tensor) -> float:
    """Compute 1/2 log2 det(I + d ((1 - rho) Cov + rho tr(Cov)/d I)) of one class.

    Args:
        rows: (m, d) finite.

    Returns:
        Bits; NaN for m = 0, 0 for m = 1.
    """
    num_rows, dim = rows.shape
    if num_rows < 2:
        return 0.0 if num_rows else math.nan
    rho, trace = ledoit_wolf_share(rows)
    lift = rho * trace  # of every eigenvalue of I + d Cov: d * tr(Cov) / d
    scale = math.sqrt(dim / num_rows * (1.0 - rho) / (1.0 + lift))
    return 0.5 * dim * math.log1p(lift) / math.log(2.0) + float(scaled_volume(rows, scale, True, "plain"))


def ledoit_wolf_share(rows: Tensor) -> tuple[float, float]:
    """Compute the share of the sphere in the shrunk covariance.

    Args:
        rows: (m, d), m >= 1.

    Returns:
        The share rho in [0, 1], and the trace of the covariance (1/m).

    Reference: Ledoit and Wolf (Journal of Multivariate Analysis 2004), section 3.
    """
    num_rows, dim = rows.shape
    unscaled = gram(rows)
    trace, square = float(unscaled.trace()) / num_rows, float(unscaled.square().sum()) / num_rows**2
    spread = square - trace**2 / dim  # squared distance of the covariance from the sphere
    if spread <= 0.0:
        return 0.0, trace
    noise = (float(_squared_lengths(rows, unscaled).square().sum()) / num_rows - square) / num_rows
    return min(max(noise / spread, 0.0), 1.0), trace


def _squared_lengths(rows: Tensor, unscaled: Tensor) -> Tensor:
    """Return the squared lengths of the centred rows, (m,)."""
    if rows.shape[0] < rows.shape[1]:
        return unscaled.diagonal()
    return torch.cat([block.square().sum(1) for block in centred_blocks(rows, 1.0, True)])
