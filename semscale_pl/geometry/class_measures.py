"""What else the moments of classes say beside S: how far the nearest other class is, spread, separation, dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.geometry.volumes import num_lines

_CLASSES_AT_ONCE = 64


@torch.no_grad()
def class_spreads(moments: ClassMoments) -> Tensor:
    """Return the trace of the covariance (1/(m - 1)) of each class, (C,) float64; NaN for an absent class.

    A class of one sample shows no spread; it gets that of all classes pooled, the within-class trace. Where no class
    has two samples, all spreads are 0.

    Example:
        >>> moments = ClassMoments(num_classes=3, num_features=1)
        >>> moments.add(torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([0, 0, 1]))
        >>> class_spreads(moments)
        tensor([2., 2., nan], dtype=torch.float64)
    """
    freedom = (moments.counts - 1).clamp_min(0).double()
    squares = torch.where(freedom > 0, moments.variances().sum(1), 0.0)
    within = squares.sum() / freedom.sum().clamp_min(1.0)
    own = torch.where(freedom > 0, squares / freedom.clamp_min(1.0), within)
    return torch.where(moments.counts > 0, own, math.nan)


@torch.no_grad()
def nearest_distances(centres: Tensor) -> Tensor:
    """Return the Euclidean distance of each class mean to the nearest other one, (C,) float64.

    Args:
        centres: (C, d), NaN rows for absent classes.

    Returns:
        NaN for absent classes, 0 where there is no other.

    Example:
        >>> nearest_distances(torch.tensor([[0.0], [1.0], [4.0]]))
        tensor([1., 1., 3.], dtype=torch.float64)
    """
    present = ~centres.isnan().any(dim=1)
    return _least(centres, present, lambda squares, rows: squares).sqrt()


@torch.no_grad()
def fisher_ratios(centres: Tensor, spreads: Tensor) -> Tensor:
    """Return each class's least ``|mu_c - mu_j|^2 / (s_c + s_j)`` over the other classes j, (C,) float64.

    Args:
        centres: (C, d), NaN rows for absent classes.
        spreads: (C,) traces of the classes' covariances, see :func:`class_spreads`.

    Returns:
        NaN for absent classes; 0 where there is no other class, or none of the two has any spread.

    Example:
        >>> fisher_ratios(torch.tensor([[0.0], [2.0], [6.0]]), torch.tensor([1.0, 1.0, 3.0]))
        tensor([2., 2., 4.], dtype=torch.float64)

    Reference: Fisher (Annals of Eugenics 1936); the trace form of Fukunaga (1990), section 10.2, for pairs of classes.
    """
    present = ~(centres.isnan().any(dim=1) | spreads.isnan())
    known = torch.where(present, spreads.double(), 0.0)

    def ratio(squares: Tensor, rows: slice) -> Tensor:
        both = known[rows, None] + known
        return torch.where(both > 0, squares / both, 0.0)

    return _least(centres, present, ratio)


@torch.no_grad()
def effective_dimensions(moments: ClassMoments) -> Tensor:
    """Return the participation ratio ``tr(Sigma)^2 / tr(Sigma^2)`` of each class, (C,) float64.

    It lies between 1 (all variance along one direction) and min(d, m - 1): the intrinsic dimension that the spectrum of
    the covariance shows, whatever its size.

    Returns:
        NaN for an absent class, 0 for a class of one sample or without any extent.

    Example:
        >>> moments = ClassMoments(num_classes=2, num_features=2)
        >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [5.0, 5.0]])
        >>> moments.add(rows, torch.tensor([0, 0, 0, 0, 1]))
        >>> effective_dimensions(moments)
        tensor([2., 0.], dtype=torch.float64)

    Reference: Abbott, Rajan and Sompolinsky (2011), for the participation ratio of neural activity.
    """
    classes = torch.arange(moments.num_classes, device=moments.counts.device)
    squares = torch.cat([moments.scatter(part).square().sum((1, 2)) for part in classes.split(_CLASSES_AT_ONCE)])
    traces = torch.where(moments.counts > 1, moments.variances().sum(1), 0.0)
    ratios = torch.where(squares > 0, traces.square() / squares, 0.0)
    return torch.where(moments.counts > 0, ratios, math.nan)


def _least(centres: Tensor, present: Tensor, value: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return the least value over the other present classes, of ``value(squared distances (k, C), their rows)``."""
    known = torch.where(present[:, None], centres.double(), 0.0)
    numbers = torch.arange(len(known), device=known.device)
    found, size = [], num_lines(len(known))
    for start in range(0, len(known), size):
        rows = slice(start, start + size)
        squares = torch.cdist(known[rows], known, compute_mode="donot_use_mm_for_euclid_dist").square()
        others = present & (numbers != numbers[rows, None])
        found.append(torch.where(others, value(squares, rows), math.inf).min(1).values)
    least = torch.cat(found)
    return torch.where(present, torch.where(least.isinf(), 0.0, least), math.nan)
