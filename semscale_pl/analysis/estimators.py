"""Semantic scales that depend less on the count of samples than S' itself does: all estimators in one place.

They measure with d/m and a ruler of length 1, as the paper does. For another ratio r or unit u, hand them the features
times sqrt(r/d) / u.
"""

from __future__ import annotations

from torch import Tensor

from semscale_pl.analysis.extrapolation import Extrapolation, extrapolated_scales, extrapolation, extrapolations
from semscale_pl.analysis.matching import matched_scale, matched_scales, matched_size
from semscale_pl.analysis.shrinkage import ledoit_wolf_scale, shrunk_scales

__all__ = [
    "CONTROLLED",
    "Extrapolation",
    "controlled_scales",
    "extrapolated_scales",
    "extrapolation",
    "extrapolations",
    "ledoit_wolf_scale",
    "matched_scale",
    "matched_scales",
    "matched_size",
    "shrunk_scales",
]

CONTROLLED = ("matched", "oas", "ledoit_wolf", "extrapolated")


def controlled_scales(
    features: Tensor, labels: Tensor, num_classes: int, size: int | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Compute all count-controlled scales side by side.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        size: samples of a subset of :func:`matched_scales`; None for the count of the smallest class of at least 2.
        seed: of the subsets.

    Returns:
        ``matched``, ``oas``, ``ledoit_wolf`` and ``extrapolated``, each (C,) float64 bits, NaN where undefined.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, or a value is out of range.

    Example:
        >>> import torch
        >>> scales = controlled_scales(torch.eye(4), torch.tensor([0, 0, 1, 1]), 2)
        >>> {name: len(values) for name, values in scales.items()}
        {'matched': 2, 'oas': 2, 'ledoit_wolf': 2, 'extrapolated': 2}
    """
    return {
        "matched": matched_scales(features, labels, num_classes, size, seed=seed),
        "oas": shrunk_scales(features, labels, num_classes, "oas"),
        "ledoit_wolf": shrunk_scales(features, labels, num_classes, "ledoit_wolf"),
        "extrapolated": extrapolated_scales(features, labels, num_classes, seed=seed),
    }
