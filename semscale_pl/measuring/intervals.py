"""Intervals of S' that never draw a row twice: deleted groups (jackknife), or subsamples without replacement."""

from __future__ import annotations

import math

import torch
from scipy import special
from torch import Tensor

from semscale_pl.geometry.classes import scales_from_moments
from semscale_pl.measuring.subsamples import bits_of_subsets, coordinates, members_of, random_subsets
from semscale_pl.options import check, check_choice
from semscale_pl.seeding import derive_seed

METHODS = ("jackknife", "subsample")
# With fewer, the spread of S' cannot be told from the sample; see docs/count_control.md for what was measured.
FEWEST_SAMPLES = 5
# Share of the samples that a subsample leaves out.
_LEFT_OUT = 0.2


@torch.no_grad()
def scale_intervals(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    method: str = "jackknife",
    level: float = 0.95,
    groups: int = 20,
    repeats: int = 100,
    seed: int = 0,
) -> Tensor:
    """Compute an interval of every class's semantic scale.

    The interval is about the value that S' takes on average over samples of this many rows. It says how far another
    sample of the same size would move S', and not how far S' is from its value at infinitely many samples, below which
    it stays where m is not much larger than d (:func:`semscale_pl.measuring.estimators.extrapolated_scales`).

    A bootstrap draws rows twice, which shrinks the volume, so its intervals miss; here rows are only left out.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        method: ``jackknife``: the rows are cut into ``groups`` random groups, of which one at a time is left out;
            ``subsample``: ``repeats`` random subsets of four fifths of the rows, their variance scaled to all rows.
        level: of confidence, in (0, 1).
        groups: of the jackknife, at least 2; of fewer rows than twice that, each is a group of its own.
        repeats: subsets of ``subsample``, at least 2.
        seed: of groups and subsets.

    Returns:
        (C, 2) float64 bits, lower and upper bound; NaN for a class of fewer than 5 samples.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: the shapes do not match, or a value is out of range.

    Example:
        >>> rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> low, high = scale_intervals(rows, torch.zeros(200).long(), 1)[0].tolist()
        >>> low < 3.0 < high, high - low < 1.0  # 1/2 * 3 * log2(1 + 3) = 3 bits
        (True, True)

    Reference: Busing, Meijer and van der Leeden (Statistics and Computing 1999) for groups of unequal size; Politis and
    Romano (Annals of Statistics 1994) for subsampling.
    """
    members = enumerate(members_of(features, labels, num_classes))
    bounds = [scale_interval(rows, method, level, groups, repeats, derive_seed(seed, label)) for label, rows in members]
    return torch.tensor(bounds, dtype=torch.float64)


@torch.no_grad()
def scale_interval(
    rows: Tensor, method: str = "jackknife", level: float = 0.95, groups: int = 20, repeats: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Compute the lower and upper bound of one class, rows (m, d), in bits, see :func:`scale_intervals`."""
    check_choice(method, METHODS, "method")
    check(level=level)
    for name, value in (("groups", groups), ("repeats", repeats)):
        if value < 2:
            raise ValueError(f"Expected `{name}` to be at least 2, but got {value}.")
    if len(rows) < FEWEST_SAMPLES:
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    estimate = jackknife(rows, groups, generator) if method == "jackknife" else subsampled(rows, repeats, generator)
    centre, error, freedom = estimate
    reach = float(special.stdtrit(freedom, 0.5 + level / 2.0)) * error
    return max(0.0, centre - reach), centre + reach


def jackknife(rows: Tensor, groups: int, generator: torch.Generator) -> tuple[float, float, int]:
    """Estimate the standard error of S' of rows (m, d), m >= 2, by leaving out one random group of them at a time.

    Returns:
        S' of all rows in bits, its standard error, and the degrees of freedom.
    """
    points, num_rows, dim = coordinates(rows), len(rows), rows.shape[1]
    number = num_rows if num_rows < 2 * groups else groups
    parts = torch.randperm(num_rows, generator=generator).tensor_split(number)
    sizes = torch.tensor([len(part) for part in parts])
    total, reduced = _without_each(points, parts, sizes, dim)
    shares = num_rows / sizes.double()
    pseudo = shares * total - (shares - 1.0) * reduced
    estimate = number * total - ((1.0 - 1.0 / shares) * reduced).sum()
    variance = float(((pseudo - estimate).square() / (shares - 1.0)).mean())
    return float(total), math.sqrt(variance), number - 1


def subsampled(rows: Tensor, repeats: int, generator: torch.Generator) -> tuple[float, float, int]:
    """Estimate the standard error of S' from random subsets of four fifths of the rows (m, d), m >= 2.

    A subset of b of m rows shares most of them with the others: its variance given the rows is (m - b)/b of that of a
    fresh sample of m rows.

    Returns:
        S' of all rows in bits, its standard error, and the degrees of freedom.
    """
    points, num_rows, dim = coordinates(rows), len(rows), rows.shape[1]
    size = num_rows - max(1, round(_LEFT_OUT * num_rows))
    bits = bits_of_subsets(points, random_subsets(num_rows, size, repeats, generator), dim)
    total = bits_of_subsets(points, torch.arange(num_rows)[None], dim)
    variance = float(bits.var()) * size / (num_rows - size)
    return float(total), math.sqrt(variance), min(num_rows, repeats) - 1


def _without_each(points: Tensor, parts: tuple[Tensor, ...], sizes: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return S' of all points, and of all but each part: the part's moments are taken off instead of summing anew."""
    num_rows, second = len(points), points.T @ points  # the points are centred
    bits = [scales_from_moments(torch.tensor([num_rows]), second[None], ratio=float(dim))]
    for part, count in zip(parts, (num_rows - sizes).split(1), strict=True):
        away = points[part]
        # What is left sums to minus the sum of what went.
        left = second - away.T @ away - torch.outer(away.sum(0), away.sum(0)) / count
        bits.append(scales_from_moments(count, left[None], ratio=float(dim)))
    return bits[0][0], torch.cat(bits[1:])
