"""Checks of tensors that come from outside, with one-line messages: what was expected, what came."""

from __future__ import annotations

import torch
from torch import Tensor


def check_features(features: Tensor, name: str = "features") -> None:
    """Refuse anything but a finite floating-point matrix with at least one column.

    Args:
        features: (m, d).
        name: what to call it in the message.

    Raises:
        TypeError: not a tensor, or not floating point.
        ValueError: another number of dimensions, no columns, NaN or infinity.
    """
    if not isinstance(features, Tensor):
        raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got {type(features).__name__}.")
    if not features.is_floating_point():
        raise TypeError(f"Expected `{name}` to be floating point, but got {features.dtype}. Convert it with .float().")
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"Expected `{name}` of shape (samples, features), but got shape {tuple(features.shape)}.")
    check_finite(features, name)


def check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN and infinity, saying how many rows hold them.

    Raises:
        ValueError: a value is not finite.
    """
    # A sum is finite only where every term is, unless it overflows: cheap first, exact only then.
    if bool(torch.isfinite(values.sum(dtype=torch.float64) if values.numel() else values.new_zeros(()))):
        return
    bad = int((~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None])).any(dim=1).sum())
    if bad:
        raise ValueError(f"Expected `{name}` to be finite, but {bad} of {values.shape[0]} rows hold NaN or infinity.")


def check_labels(labels: Tensor, num_rows: int, num_classes: int) -> None:
    """Refuse anything but one integer in [0, num_classes) a row.

    Args:
        labels: (N,).
        num_rows: N.
        num_classes: C.

    Raises:
        TypeError: not an integer tensor.
        ValueError: another length, or a label out of range.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"Expected `labels` to be an integer tensor, but got {kind}.")
    if num_classes < 1:
        raise ValueError(f"Expected `num_classes` to be at least 1, but got {num_classes}.")
    if labels.shape != (num_rows,):
        raise ValueError(f"Expected `labels` of shape ({num_rows},), one a row, but got shape {tuple(labels.shape)}.")
    if num_rows and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise ValueError(
            f"Expected `labels` in [0, {num_classes}), but got values from {int(labels.min())} to {int(labels.max())}. "
            "Raise `num_classes` or map the labels to 0..C-1."
        )


def resolve_ratio(ratio: float | str, dim: int) -> float:
    """Turn ``"dim"`` into the feature dimension and check a number.

    Raises:
        ValueError: neither ``"dim"`` nor a number above 0.
    """
    if ratio == "dim":
        return float(dim)
    if isinstance(ratio, str) or not ratio > 0:
        raise ValueError(f'Expected `ratio` to be "dim" or a number above 0, but got {ratio!r}.')
    return float(ratio)


def check_unit(unit: float) -> None:
    """Refuse a ruler without length.

    Raises:
        ValueError: not above 0.
    """
    if not unit > 0:
        raise ValueError(f"Expected `unit` to be above 0, but got {unit}.")
