"""Numbers that come from outside: arrays and lists as tensors, and checks that say what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.options import check

ArrayLike = Tensor | np.ndarray | Sequence[Any]
# From here on numbers are rather names than class numbers: a class for each one below would take all memory.
_MOST_GAPS = 2**20


def as_tensor(values: ArrayLike, name: str) -> Tensor:
    """Return numbers as a tensor: a tensor itself, an array without a copy where torch can share it.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: lists of different lengths, masked values or a sparse tensor.

    Example:
        >>> as_tensor([[1, 2], [3, 4]], "counts")
        tensor([[1, 2],
                [3, 4]])
    """
    check_dense(values, name)
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # also tensors in a list, with a gradient or on a GPU
        raise ValueError(
            f"Expected `{name}` to be a tensor, an array or nested lists of equal length, but got a "
            f"{type(values).__name__} that makes no array. Cut or stack its rows first."
        ) from error
    if array.dtype.kind not in "biuf":
        kind = {"O": "Python objects", "U": "words", "S": "words"}.get(array.dtype.kind, str(array.dtype))
        raise TypeError(f"Expected `{name}` to be real numbers, but got {kind}. Convert them to a float array first.")
    # torch knows no foreign byte order, no wider float and not every unsigned integer.
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.int64)
    return torch.from_numpy(np.require(array, dtype if dtype.itemsize <= 8 else np.float64, ["C", "W"]))


def as_features(values: ArrayLike, name: str = "features", *, min_rows: int = 0) -> Tensor:
    """Return features as a tensor that :func:`check_features` accepts; whole numbers become float64.

    Raises:
        TypeError: the values are not numbers.
        ValueError: see :func:`check_features`.
    """
    features = as_tensor(values, name)
    if not features.is_floating_point() and not features.is_complex():
        features = features.double()
    check_features(features, name, min_rows=min_rows)
    return features


def check_dense(values: object, name: str) -> None:
    """Refuse sparse tensors, and arrays with masked values: below the mask stands what is missing.

    Raises:
        ValueError: the tensor is sparse, or a value is masked.
    """
    if isinstance(values, Tensor) and values.layout != torch.strided:
        raise ValueError(f"Expected `{name}` to be dense, but got a sparse tensor. Pass {name}.to_dense().")
    if isinstance(values, np.ma.MaskedArray) and (masked := int(np.ma.count_masked(values))):
        raise ValueError(f"Expected every value of `{name}`, but {masked:,} are masked. Fill them, or drop their rows.")


def check_features(features: Tensor, name: str = "features", *, min_rows: int = 0) -> None:
    """Refuse anything but a finite floating-point matrix with at least ``min_rows`` rows and one column.

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


def check_labels(labels: Tensor, num_rows: int, num_classes: int | None = None) -> int:
    """Refuse anything but one integer in [0, num_classes) a row.

    Returns:
        The number of classes, which is the largest label plus 1 where it is not given.

    Raises:
        TypeError: not an integer tensor.
        ValueError: another length, or a label out of range; no label where C is None.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"Expected `labels` to be an integer tensor, but got {kind}.")
    if num_classes is not None:
        check(num_classes=num_classes)
    if labels.shape != (num_rows,):
        raise ValueError(f"Expected `labels` of shape ({num_rows},), one a row, but got shape {tuple(labels.shape)}.")
    if num_rows == 0:
        if num_classes is None:
            raise ValueError("Expected at least one label to find the classes in, but got none. Give `num_classes`.")
        return num_classes
    low, high = torch.stack(labels.aminmax()).tolist()
    if num_classes is None:
        if high >= max(_MOST_GAPS, 2 * num_rows):
            raise ValueError(
                f"Expected class numbers from 0, but got {high} among {num_rows} labels. Map them to 0..C-1, as "
                "torch.unique(labels, return_inverse=True) does, or give `num_classes`."
            )
        num_classes = max(1, high + 1)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected `labels` in [0, {num_classes}), but got values from {low} to {high}. "
            "Raise `num_classes` or map the labels to 0..C-1."
        )
    return num_classes
