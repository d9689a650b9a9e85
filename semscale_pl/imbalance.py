"""Counts and weights of imbalanced classes: long-tailed profiles, effective numbers, class weights and their scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.options import PROFILES, check, check_choice
from semscale_pl.validation import ArrayLike, as_tensor

# Of the effective numbers of class-balanced weights: the value of Cui et al. (CVPR 2019) for long-tailed CIFAR.
DEFAULT_BETA = 0.9999


class ScaleWeights(NamedTuple):
    """Class weights (C,), and () int64 how many scales were raised to the floor and how many weights cut to the cap."""

    weights: Tensor
    num_floored: Tensor
    num_capped: Tensor


class CountFit(NamedTuple):
    """log S of the classes as a line in log n: fitted values and residuals (C,), NaN where absent, and its slope ().

    ``num_floored`` () int64: how many scales were raised to the floor before their logarithm was taken.
    """

    fitted: Tensor
    residuals: Tensor
    slope: Tensor
    num_floored: Tensor


def long_tail_counts(class_sizes: Sequence[int], factor: float, profile: str = "exponential") -> list[int]:
    """Return how many images of each class a long-tailed subset keeps.

    Args:
        class_sizes: images of each class, in the order head to tail.
        factor: imbalance factor, largest over smallest share, at least 1.
        profile: ``exponential`` (n_i factor^(-i/(C-1)), truncated), ``step`` (first half full, second half over the
            factor) or ``none``.

    Returns:
        C counts, at least 1 for a class that has images.

    Raises:
        ValueError: unknown profile, a factor below 1, or a factor without a profile.

    Example:
        >>> long_tail_counts([500] * 3, 100)
        [500, 50, 5]

    Reference: Cui et al. (CVPR 2019), section 5.1; Ma et al. (ICLR 2023), Table 5 (each class's own size).
    """
    check_choice(profile, PROFILES, "imbalance")
    check(imbalance_factor=factor)
    if profile == "none" and factor != 1:
        raise ValueError(f"Expected `imbalance_factor` 1 with imbalance none, but got {factor}. Choose a profile.")
    sizes, shares = [int(size) for size in class_sizes], _shares(len(class_sizes), factor, profile)
    return [min(size, max(1, int(size * share + 1e-9))) for size, share in zip(sizes, shares, strict=True)]


def effective_numbers(counts: ArrayLike, beta: float) -> Tensor:
    """Return the effective number of samples E_n = (1 - beta^n) / (1 - beta).

    Args:
        counts: (C,).
        beta: in [0, 1]; 0 gives 1, 1 gives n. Records of a run use (N-1)/N, N being the number of training images.

    Returns:
        (C,) float64.

    Raises:
        ValueError: beta is outside [0, 1].

    Example:
        >>> effective_numbers(torch.tensor([1, 2, 1000]), 0.5)
        tensor([1.0000, 1.5000, 2.0000], dtype=torch.float64)

    Reference: Cui et al. (CVPR 2019), eq. 2; Ma et al. (ICLR 2023), section 2.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"Expected `beta` to be in [0, 1], but got {beta}.")
    counts = as_tensor(counts, "counts").double()
    if beta == 1.0:
        return counts
    if beta == 0.0:
        return (counts > 0).double()
    # expm1 keeps the digits that 1 - beta^n loses for beta near 1
    return -torch.expm1(counts * torch.log(torch.tensor(beta, dtype=torch.float64))) / (1.0 - beta)


def inverse_weights(counts: Tensor) -> Tensor:
    """Return 1/n of each class (C,), NaN where a class is absent."""
    return class_balanced_weights(counts, 1.0)


def sqrt_inverse_weights(counts: Tensor) -> Tensor:
    """Return 1/sqrt(n) of each class (C,), NaN where a class is absent."""
    return inverse_weights(counts).sqrt()


def power_weights(counts: Tensor, p: Tensor | float) -> Tensor:
    """Return n^-p of each class (C,), NaN where a class is absent; p = 1 is inverse frequency.

    Example:
        >>> power_weights(torch.tensor([4.0, 16.0]), 0.5)
        tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    counts = torch.as_tensor(counts).double()
    return torch.where(counts > 0, counts.pow(-p), float("nan"))


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """Return the inverse effective number of each class (C,), NaN where a class is absent.

    Reference: Cui et al. (CVPR 2019), section 4.
    """
    counts = torch.as_tensor(counts)
    return torch.where(counts > 0, 1.0 / effective_numbers(counts, beta), float("nan"))


def normalize_weights(weights: ArrayLike, frequencies: ArrayLike, normalization: str = "sample") -> Tensor:
    """Fix the size of class weights, so that weighting does not change the learning rate in disguise.

    Args:
        weights: (C,) above 0; NaN for absent classes.
        frequencies: (C,) probabilities that the sampler draws each class, or counts.
        normalization: ``sample``: the expected weight of a drawn sample is 1; ``class``: the mean over the classes is 1
            (the paper's fixed sum); ``none``: as they are.

    Returns:
        (C,) float64. Absent classes (NaN weight or frequency 0) get the mean weight of the present ones and do not
        count in the normalization. Without any present class all weights are 1.

    Raises:
        ValueError: unknown normalization, or shapes that differ.

    Example:
        >>> normalize_weights(torch.tensor([1.0, 3.0]), torch.tensor([3, 1]))
        tensor([0.6667, 2.0000], dtype=torch.float64)
    """
    check(normalization=normalization)
    weights, frequencies = as_tensor(weights, "weights"), as_tensor(frequencies, "frequencies")
    _check_pair(weights, frequencies)
    weights, frequencies = weights.double(), frequencies.double()
    return _normalized(weights, frequencies, _absent(weights, frequencies), normalization)


def scales_to_weights(
    scales: ArrayLike,
    frequencies: ArrayLike,
    normalization: str = "sample",
    power: float = 1.0,
    floor: float = 0.05,
    max_ratio: float = 100.0,
) -> Tensor:
    """Turn semantic scales into class weights S^-power; the one place where NaN and 0 bits get a meaning.

    A scale below ``floor`` times the largest is raised to that (a class of one image has 0 bits), then the power is
    taken, then weights above ``max_ratio`` times the smallest are cut to that, then they are normalized. An absent
    class (NaN, or frequency 0) gets the mean weight. Where all scales are 0, all weights are equal.

    Args:
        scales: (C,) at least 0; S, or S' where distances should not count; NaN for absent classes.
        frequencies: (C,) probabilities that the sampler draws each class, or counts.
        normalization: see :func:`normalize_weights`.
        power: at least 0; 1 is the paper's.
        floor: share of the largest scale, in (0, 1].
        max_ratio: largest over smallest weight, at least 1.

    Returns:
        (C,) class weights, float64.

    Raises:
        ValueError: an argument is out of range, a scale is negative or infinite, or shapes differ.

    Example:
        >>> scales_to_weights(torch.tensor([4.0, 2.0]), torch.tensor([3, 1]))
        tensor([0.8000, 1.6000], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), section 4.1.
    """
    scales, frequencies = as_tensor(scales, "scales"), as_tensor(frequencies, "frequencies")
    _check_values(scales)
    return weigh_scales(scales, frequencies, normalization, power, floor, max_ratio).weights


def weigh_scales(
    scales: Tensor,
    frequencies: Tensor,
    normalization: str = "sample",
    power: float = 1.0,
    floor: float = 0.05,
    max_ratio: float = 100.0,
) -> ScaleWeights:
    """Do what :func:`scales_to_weights` does and count the classes that the floor and the cap touched.

    The values of the scales are not checked: that would wait for their device in every training step.
    """
    weights = weights_of_scales(scales, frequencies, normalization, power, floor, max_ratio)
    scales = scales.double()
    absent = _absent(scales, frequencies)
    relative = _relative(scales, absent)[0]
    floored, capped = relative < floor, relative.clamp_min(floor).pow(-power) > max_ratio * (1.0 + 1e-12)
    return ScaleWeights(weights, (floored & ~absent).sum(), (capped & ~absent).sum())


def weights_of_scales(
    scales: Tensor, frequencies: Tensor, normalization: str, power: float, floor: float, max_ratio: float
) -> Tensor:
    """Return the class weights (C,) of :func:`weigh_scales` alone, in few operations: each costs a card its launch."""
    if scales.ndim != 1 or scales.shape[0] == 0:
        raise ValueError(f"Expected `scales` of shape (C,), but got {tuple(scales.shape)}.")
    check(power=power, floor=floor, max_ratio=max_ratio)
    _check_pair(scales, frequencies)
    check(normalization=normalization)
    scales, frequencies = scales.double(), frequencies.double()
    absent = _absent(scales, frequencies)
    relative, largest = _relative(scales, absent)
    # The largest scale has the smallest weight, 1.
    raw = relative.clamp_min(floor).pow(-power).clamp_max(max_ratio)
    if normalization == "none":
        raw = raw * torch.where(largest > 0, largest, 1.0).pow(-power)
    return _normalized(raw, frequencies, absent, normalization)


def fit_scales_to_counts(scales: Tensor, counts: Tensor, floor: float = 0.05) -> CountFit:
    """Regress log S of the classes on log n by least squares, every present class counting the same.

    Args:
        scales: (C,) at least 0, NaN for absent classes; those below ``floor`` times the largest are raised to that.
        counts: (C,) samples; a class of none is absent.
        floor: share of the largest scale, in (0, 1].

    Returns:
        The fit in natural logarithms of S over its maximum; where all n are equal, the fitted value is the mean.

    Example:
        >>> fit = fit_scales_to_counts(torch.tensor([8.0, 4.0, 2.0]), torch.tensor([64, 16, 4]))
        >>> round(float(fit.slope), 6), fit.residuals.abs().max() < 1e-12
        (0.5, tensor(True))
    """
    check(floor=floor)
    scales, counts = scales.double(), counts.double()
    present = ~scales.isnan() & (counts > 0)
    known = torch.where(present, scales, 0.0)
    largest = known.max()
    relative = torch.where(largest > 0, known / largest, 1.0)
    y, x = relative.clamp_min(floor).log(), torch.where(present, counts, 1.0).log()
    number = present.sum().clamp_min(1)
    middle = torch.where(present, y, 0.0).sum() / number
    away = torch.where(present, x - torch.where(present, x, 0.0).sum() / number, 0.0)
    spread = away.square().sum()
    # Logarithms of equal counts differ from their mean by rounding alone.
    slope = torch.where(spread > 1e-20, (away * y).sum() / spread.clamp_min(1e-20), 0.0)
    fitted = torch.where(present, middle + slope * away, math.nan)
    return CountFit(fitted, y - fitted, slope, (present & (relative < floor)).sum())


def passed_around(values: Tensor, present: Tensor, order: Tensor) -> Tensor:
    """Give each present class the value of the next one that is present in a ring, so that none keeps its own.

    Args:
        values: (C,).
        present: (C,) bool; other classes get NaN. A single one keeps its value.
        order: (C,) permutation: the ring in which the classes stand.

    Example:
        >>> passed_around(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.arange(4) != 1, torch.tensor([3, 1, 0, 2]))
        tensor([3., nan, 4., 1.])
    """
    # Sorting keeps the shapes: to pick the present ones by a mask would wait for the device.
    ring = order[torch.argsort((~present[order]).long(), stable=True)]
    following = torch.arange(1, len(ring) + 1, device=ring.device)
    following = torch.where(following < present.sum(), following, 0)
    handed = torch.empty_like(values).index_copy_(0, ring, values[ring[following]])
    return torch.where(present, handed, math.nan)


def log_spread(values: Tensor, present: Tensor) -> Tensor:
    """Return the standard deviation () of log values over the present classes, each counting the same.

    Example:
        >>> round(float(log_spread(torch.tensor([1.0, math.e**2, 5.0]), torch.tensor([True, True, False]))), 6)
        1.0
    """
    logs = torch.where(present, values.double(), 1.0).log()
    number = present.sum().clamp_min(1)
    away = torch.where(present, logs - logs.sum() / number, 0.0)
    return (away.square().sum() / number).sqrt()


def _check_pair(weights: Tensor, frequencies: Tensor) -> None:
    if weights.ndim != 1 or weights.shape != frequencies.shape:
        raise ValueError(
            f"Expected weights and frequencies of one shape (C,), but got {tuple(weights.shape)} and "
            f"{tuple(frequencies.shape)}."
        )


def _absent(values: Tensor, frequencies: Tensor) -> Tensor:
    """Return which classes do not count: their value is unknown, or the sampler never draws them."""
    return values.isnan() | ~(frequencies > 0)


def _relative(scales: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales (C,) over their largest, so that a high power does not overflow, and the largest.

    Without any extent all classes are alike; absent ones are 0.
    """
    known = scales.masked_fill(absent, 0.0)
    largest = known.max()
    return (known / largest).masked_fill_(largest <= 0, 1.0), largest


def _normalized(weights: Tensor, frequencies: Tensor, absent: Tensor, normalization: str) -> Tensor:
    known = weights.masked_fill(absent, 0.0)
    present = ~absent
    num_present = present.sum()
    if normalization == "sample":
        shares = frequencies.masked_fill(absent, 0.0)
        known = known * (shares.sum() / (shares * known).sum())
    elif normalization == "class":
        known = known * (num_present / known.sum())
    result = torch.where(present, known, known.sum() / num_present)
    # Without a present class, 0/0: no weight is better than another.
    return result.masked_fill_(num_present == 0, 1.0)


def _shares(num_classes: int, factor: float, profile: str) -> list[float]:
    if profile == "exponential":
        return [factor ** (-i / max(1, num_classes - 1)) for i in range(num_classes)]
    if profile == "step":
        return [1.0 if i < (num_classes + 1) // 2 else 1.0 / factor for i in range(num_classes)]
    return [1.0] * num_classes


def _check_values(scales: Tensor) -> None:
    wrong = scales.isinf() | (scales < 0)
    if bool(wrong.any()):
        raise ValueError(
            "Expected `scales` to be finite and at least 0 (NaN for absent classes), but got "
            f"{int(wrong.sum())} others, the first for class {int(wrong.int().argmax())}."
        )
