"""Checks of tensors that come from outside, with one-line messages: what was expected, what came."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def check_features(features: Tensor, name: str = "features", *, min_rows: int = 0) -> None:
    """Refuse anything but a finite floating-point matrix with at least one column.

    Args:
        features: (m, d).
        name: what to call it in the message.
        min_rows: fewest rows allowed.

    Raises:
        TypeError: not a tensor, or not floating point.
        ValueError: another number of dimensions, too few rows, no columns, NaN or infinity.

    Example:
        >>> check_features(torch.ones(3))
        Traceback (most recent call last):
        ValueError: Expected `features` of shape (samples, features), but got shape (3,).
    """
    check_floating(features, name)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"Expected `{name}` of shape (samples, features), but got shape {tuple(features.shape)}.")
    if features.shape[0] < min_rows:
        raise ValueError(f"Expected `{name}` to have at least {min_rows} row, but got shape {tuple(features.shape)}.")
    check_finite(features, name)


def check_floating(values: Tensor, name: str) -> None:
    """Refuse anything but a tensor of real floating-point numbers.

    Raises:
        TypeError: not a tensor, or of another type.
    """
    if not isinstance(values, Tensor):
        raise TypeError(
            f"Expected `{name}` to be a torch.Tensor, but got {type(values).__name__}. Use torch.as_tensor first."
        )
    if not values.is_floating_point():
        raise TypeError(f"Expected `{name}` to be floating point, but got {values.dtype}. Convert it with .float().")


def check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN and infinity, saying how many entries and rows hold them.

    Raises:
        ValueError: a value is not finite.
    """
    # A sum is finite only where every term is, unless it overflows: cheap first, exact only then.
    if bool(values.detach().sum(dtype=torch.float64).isfinite()):
        return
    num_nan, num_infinite = int(values.isnan().sum()), int(values.isinf().sum())
    if num_nan or num_infinite:
        rows = int((~values.isfinite()).reshape(values.shape[0], -1).any(dim=1).sum())
        raise ValueError(
            f"Expected `{name}` to be finite, but got {num_nan} NaN and {num_infinite} infinite entries in {rows} of "
            f"{values.shape[0]} rows. Drop those rows, or find out where training diverged."
        )


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
    if num_rows == 0:
        return
    low, high = torch.stack(labels.aminmax()).tolist()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected `labels` in [0, {num_classes}), but got values from {low} to {high}. "
            "Raise `num_classes` or map the labels to 0..C-1."
        )


def check_choice(value: str, choices: Sequence[str], name: str) -> None:
    """Refuse a name that is none of the choices.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(f"Expected `{name}` to be one of {tuple(choices)}, but got {value!r}.")


def resolve_ratio(ratio: float | str, dim: int) -> float:
    """Turn ``"dim"`` into the feature dimension and check a number.

    Raises:
        ValueError: neither ``"dim"`` nor a number above 0.
    """
    if ratio == "dim":
        return float(dim)
    if isinstance(ratio, str) or not 0 < ratio < math.inf:
        raise ValueError(f'Expected `ratio` to be "dim" or a finite number above 0, but got {ratio!r}.')
    return float(ratio)


def check_unit(unit: float) -> None:
    """Refuse a ruler without length.

    Raises:
        ValueError: not above 0.
    """
    if not 0 < unit < math.inf:
        raise ValueError(f"Expected `unit` to be a finite number above 0, but got {unit}.")
