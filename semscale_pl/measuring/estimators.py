"""Semantic scales that depend less on the count of samples than S' itself does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.geometry.volumes import centred_blocks, gram, scaled_volume
from semscale_pl.measuring.extrapolation import extrapolated_scales
from semscale_pl.measuring.subsamples import bits_of_subsets, coordinates, members_of, random_subsets
from semscale_pl.options import check_choice
from semscale_pl.seeding import derive_seed

METHODS = ("oas", "ledoit_wolf")
SMALLEST_SIZE = 2


@torch.no_grad()
def matched_scales(
    features: Tensor, labels: Tensor, num_classes: int, size: int | None = None, repeats: int = 20, seed: int = 0
) -> Tensor:
    """Compute each class's mean semantic scale over random subsets of one size, drawn without replacement.

    S' grows with the number of samples even where the distribution stays the same; at one size, what is left to differ
    between two classes is their diversity. The level is that of ``size`` samples, not that of the population.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        size: samples of a subset, at least 2; None for the count of the smallest class of at least 2.
        repeats: subsets of a class; a class of exactly ``size`` samples has only one.
        seed: of the draws. Those of a class depend on nothing but the seed, its number and its count.

    Returns:
        (C,) float64 bits; NaN for a class of fewer than ``size`` samples.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, a value is out of range, or no class has 2 samples.

    Example:
        >>> rows = torch.tensor([[0.0], [2.0], [0.0], [2.0], [2.0], [0.0], [9.0]])
        >>> matched_scales(rows, torch.tensor([0, 0, 1, 1, 1, 1, 2]), 3, size=2)[[0, 2]]
        tensor([0.5000,    nan], dtype=torch.float64)
    """
    if repeats < 1:
        raise ValueError(f"Expected `repeats` to be at least 1, but got {repeats}.")
    members = list(members_of(features, labels, num_classes))
    size = matched_size([len(rows) for rows in members]) if size is None else size
    if size < SMALLEST_SIZE:
        raise ValueError(f"Expected `size` to be at least {SMALLEST_SIZE}, but got {size}.")
    scales = [matched_scale(rows, size, repeats, derive_seed(seed, label)) for label, rows in enumerate(members)]
    return torch.tensor(scales, dtype=torch.float64)


def matched_size(counts: list[int]) -> int:
    """Return the largest size that every class of at least 2 samples allows.

    Raises:
        ValueError: no class has 2 samples.

    Example:
        >>> matched_size([500, 0, 1, 7])
        7
    """
    enough = [count for count in counts if count >= SMALLEST_SIZE]
    if not enough:
        raise ValueError(
            f"Expected a class of at least {SMALLEST_SIZE} samples, but the largest has {max(counts, default=0)}."
        )
    return min(enough)


@torch.no_grad()
def matched_scale(rows: Tensor, size: int, repeats: int = 20, seed: int = 0) -> float:
    """Compute the :func:`matched_scales` of one class, rows (m, d): bits, NaN for m below ``size``."""
    num_rows = len(rows)
    if num_rows < size:
        return math.nan
    generator = torch.Generator().manual_seed(derive_seed(seed, num_rows))
    subsets = random_subsets(num_rows, size, 1 if num_rows == size else repeats, generator)
    return float(bits_of_subsets(coordinates(rows), subsets, rows.shape[1]).mean())


@torch.no_grad()
def shrunk_scales(features: Tensor, labels: Tensor, num_classes: int, method: str = "oas") -> Tensor:
    """Compute each class's semantic scale from a covariance that is drawn towards a sphere where samples are few.

    Args:
        features, labels, num_classes: see :func:`matched_scales`.
        method: ``oas`` (what ``estimator="shrunk"`` means elsewhere) or ``ledoit_wolf``.

    Returns:
        (C,) float64 bits; NaN for an absent class, 0 for a single sample.

    Raises:
        TypeError, ValueError: see :func:`matched_scales`; or there is no such method.

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
    """Compute 1/2 log2 det(I + d ((1 - rho) Cov + rho tr(Cov)/d I)) of one class, rows (m, d).

    Returns:
        Bits; NaN for m = 0, 0 for m = 1.
    """
    num_rows, dim = rows.shape
    if num_rows < 2:
        return 0.0 if num_rows else math.nan
    rho, trace = _ledoit_wolf_share(rows)
    shift = rho * trace  # of every eigenvalue of I + d Cov: d * tr(Cov) / d
    scale = math.sqrt(dim / num_rows * (1.0 - rho) / (1.0 + shift))
    return 0.5 * dim * math.log1p(shift) / math.log(2.0) + float(scaled_volume(rows, scale, True, "plain"))


def controlled_scales(
    features: Tensor, labels: Tensor, num_classes: int, size: int | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Compute all count-controlled scales side by side, see :func:`matched_scales` for arguments and errors.

    Returns:
        ``matched``, ``oas``, ``ledoit_wolf`` and ``extrapolated``, each (C,) float64 bits, NaN where undefined.

    Example:
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


def _ledoit_wolf_share(rows: Tensor) -> tuple[float, float]:
    """Return the share rho in [0, 1] of the sphere in the shrunk covariance, and the trace of the covariance (1/m)."""
    num_rows, dim = rows.shape
    unscaled = gram(rows)
    trace, square = float(unscaled.trace()) / num_rows, float(unscaled.square().sum()) / num_rows**2
    spread = square - trace**2 / dim  # squared distance of the covariance from the sphere
    if spread <= 0.0:
        return 0.0, trace
    if num_rows < dim:
        squared_lengths = unscaled.diagonal()
    else:
        squared_lengths = torch.cat([block.square().sum(1) for block in centred_blocks(rows, 1.0, True)])
    noise = (float(squared_lengths.square().sum()) / num_rows - square) / num_rows
    return min(max(noise / spread, 0.0), 1.0), trace
