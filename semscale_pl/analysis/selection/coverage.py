"""The volume that chosen samples span around the centre of their whole class: a submodular relative of S'."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.validation import check_features
from semscale_pl.volumes import volume


def coverage(features: Tensor, rows: Tensor, size: int | None = None) -> Tensor:
    """Compute 1/2 log2 det(I + d/size Z_A Z_A^T) of chosen samples, centred at the mean of all.

    With a fixed ``size`` this is monotone and submodular in the set of rows, and 0 for the empty set. The semantic
    scale of the rows, which centres at their own mean and divides by their own number, is neither.

    Args:
        features: (N, d) of the whole class.
        rows: (k,) integers in [0, N), the chosen samples.
        size: what d is divided by; k unless given.

    Returns:
        () bits.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite matrix, a row is out of range, or the size is below 1.

    Example:
        >>> line = torch.tensor([[0.0], [2.0], [4.0]])
        >>> round(coverage(line, torch.tensor([0, 2])).item(), 6)  # 1/2 log2(1 + 1/2 * (4 + 4))
        1.160964
    """
    check_features(features, min_rows=1)
    num_rows, dim = features.shape
    if rows.ndim != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < num_rows):
        raise ValueError(
            f"Expected `rows` to be a vector of numbers from 0 to {num_rows - 1}, but got {rows.tolist()}."
        )
    divisor = len(rows) if size is None else size
    if size is not None and size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    if not len(rows):
        return features.new_zeros((), dtype=torch.float64)
    return volume(around_mean(features)[rows], ratio=dim * len(rows) / divisor, center=False)


def around_mean(features: Tensor) -> Tensor:
    """Return float64 features (N, d) less their mean, taken over the differences to the first row."""
    shifted = features.double() - features[0].double()
    return shifted.sub_(shifted.mean(0))


def check_size(size: int, num_rows: int) -> None:
    """Refuse to choose no sample, or more than there are.

    Raises:
        ValueError: the size is outside [1, num_rows].
    """
    if not 1 <= size <= num_rows:
        raise ValueError(f"Expected `size` to be from 1 to the {num_rows} samples there are, but got {size}.")
