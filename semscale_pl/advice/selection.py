"""Choosing k samples that stand for a class: by the volume they span, by their mean, by what they cover."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.advice.growth import scales_of_subsets
from semscale_pl.geometry.volumes import semantic_scale, volume
from semscale_pl.options import check_choice
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_features, check_labels


def random_rows(num_rows: int, size: int, seed: int = 0) -> Tensor:
    """Draw k of N samples without replacement, in random order; those of a smaller k are the first of a larger one.

    Raises:
        ValueError: the size is out of range.
    """
    _check_size(size, num_rows)
    generator = torch.Generator().manual_seed(derive_seed(seed))
    return torch.randperm(num_rows, generator=generator)[:size]


@torch.no_grad()
def best_of_draws(features: Tensor, size: int, draws: int = 100, seed: int = 0) -> Tensor:
    """Draw k samples many times and keep the draw with the largest semantic scale S', of equal ones the first.

    Arguments and errors are those of :func:`select`; the first draw is :func:`random_rows` of ``derive_seed(seed, 0)``.

    Reference: Ma et al. (ICLR 2023), appendix I1.
    """
    check_features(features, min_rows=1)
    if draws < 1:
        raise ValueError(f"Expected `draws` to be at least 1, but got {draws}.")
    candidates = torch.stack([random_rows(len(features), size, derive_seed(seed, draw)) for draw in range(draws)])
    scales = torch.cat([scales_of_subsets(features, part) for part in candidates.split(16)])
    return candidates[int(scales.argmax())]


class Greedy(NamedTuple):
    """Samples in the order of their choice.

    Args:
        rows: (k,) int64.
        bits: (k,) float64; entry t is the coverage of the first t + 1 rows, with d divided by k.
    """

    rows: Tensor
    bits: Tensor


@torch.no_grad()
def greedy(features: Tensor, size: int) -> Greedy:
    """Choose k samples one by one, always the one that adds most to log det(I + d/k Z_A Z_A^T).

    Z is centred at the mean of the whole class, which makes the objective monotone and submodular: the choice reaches
    at least 1 - 1/e of the optimum (Nemhauser et al., 1978), and finding more is NP-hard in general. With
    P = (I + d/k Z_A^T Z_A)^-1, sample z adds log(1 + d/k z^T P z), and choosing it takes a rank-one term off P. So one
    step costs a product of all features with one vector, and everything O(N d k). Of equal gains the first is taken.

    Arguments and errors are those of :func:`select`.

    Example:
        >>> greedy(torch.tensor([[9.0, 0.0], [8.0, 0.0], [-17.0, 0.0], [0.0, 5.0], [0.0, -5.0]]), 2).rows.tolist()
        [2, 3]

    Reference: Ma et al. (ICLR 2023), appendix I1, for the aim; the algorithm is not the paper's.
    """
    check_features(features, min_rows=1)
    num_rows, dim = features.shape
    _check_size(size, num_rows)
    scaled = _around_mean(features).mul_(math.sqrt(dim / size))
    gains = scaled.square().sum(1)  # z^T P z, at first with P = I
    directions = scaled.new_zeros(size, dim)  # P = I - directions^T directions
    rows, nats = [], []
    for step in range(size):
        row = int(gains.argmax())
        gain = gains[row].clamp_min(0.0)
        rows.append(row)
        nats.append(gain.log1p())
        used, sample = directions[:step], scaled[row]
        directions[step] = (sample - used.T @ (used @ sample)) / (1.0 + gain).sqrt()
        gains -= (scaled @ directions[step]).square_()
        gains[row] = -math.inf  # chosen once
    bits = torch.stack(nats).cumsum(0) / (2.0 * math.log(2.0))
    return Greedy(torch.tensor(rows), bits)


@torch.no_grad()
def herding(features: Tensor, size: int) -> Tensor:
    """Choose samples one by one so that the mean of the chosen ones stays closest to the mean of all.

    Those of a smaller k are the first of a larger one. Arguments and errors are those of :func:`select`.

    Example:
        >>> herding(torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]]), 2).tolist()
        [2, 3]

    Reference: Welling (ICML 2009); the form without repeats of Rebuffi et al. (iCaRL, CVPR 2017), Algorithm 4.
    """
    check_features(features, min_rows=1)
    _check_size(size, len(features))
    centred = _around_mean(features)
    squares = centred.square().sum(1)
    total = torch.zeros_like(centred[0])
    taken = torch.zeros_like(squares)
    rows = []
    for _ in range(size):
        # |total + z|^2 less |total|^2, which is the same for all; the divisor (t + 1)^2 is, too.
        row = int((squares + 2.0 * (centred @ total) + taken).argmin())
        rows.append(row)
        total += centred[row]
        taken[row] = torch.inf
    return torch.tensor(rows)


@torch.no_grad()
def k_centre(features: Tensor, size: int) -> Tensor:
    """Choose the sample nearest to the mean, then again and again the one farthest from all chosen ones.

    The largest distance of a sample to its nearest chosen one is at most twice the smallest possible. Those of a
    smaller k are the first of a larger one. Arguments and errors are those of :func:`select`.

    Example:
        >>> k_centre(torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]]), 3).tolist()
        [2, 4, 0]

    Reference: Gonzalez (1985); Sener and Savarese (ICLR 2018) for its use in choosing training images.
    """
    check_features(features, min_rows=1)
    _check_size(size, len(features))
    centred = _around_mean(features)
    rows = [int(centred.square().sum(1).argmin())]
    distances = _squared_distances(centred, rows[0])
    while len(rows) < size:
        rows.append(int(distances.argmax()))
        distances = distances.minimum(_squared_distances(centred, rows[-1]))
    return torch.tensor(rows)


# Features (N, d), k and a seed to (k,) rows; those that draw nothing leave the seed alone.
METHODS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "random": lambda features, size, seed: random_rows(len(features), size, seed),
    "draws": lambda features, size, seed: best_of_draws(features, size, seed=seed),
    "greedy": lambda features, size, seed: greedy(features, size).rows,
    "herding": lambda features, size, seed: herding(features, size),
    "k_centre": lambda features, size, seed: k_centre(features, size),
}


def select(features: Tensor, size: int, method: str = "greedy", seed: int = 0) -> Tensor:
    """Choose k samples of a class.

    Args:
        features: (N, d) of the class.
        size: k, from 1 to N.
        method: ``random``, ``draws`` (the best of 100 by S'), ``greedy``, ``herding`` or ``k_centre``.
        seed: of the methods that draw.

    Returns:
        (k,) int64 rows, each chosen once.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: they are not a finite, non-empty matrix, there is no such method, or a number is out of range.

    Example:
        >>> select(torch.tensor([[0.0], [1.0], [9.0]]), 1).tolist()
        [2]
    """
    check_choice(method, tuple(METHODS), "method")
    return METHODS[method](features, size, seed)


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
        numbers = f"a vector of numbers from 0 to {num_rows - 1}"
        raise ValueError(f"Expected `rows` to be {numbers}, but got {rows.tolist()}.")
    if size is not None and size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    if not len(rows):
        return features.new_zeros((), dtype=torch.float64)
    return volume(_around_mean(features)[rows], ratio=dim * len(rows) / (size or len(rows)), center=False)


def covering_radius(features: Tensor, rows: Tensor) -> Tensor:
    """Return the largest distance of a sample (N, d) to its nearest chosen row (k,), k >= 1; () float64."""
    centred = _around_mean(features)
    nearest = torch.stack([_squared_distances(centred, int(row)) for row in rows]).amin(0)
    return nearest.max().clamp_min(0.0).sqrt()


class Shrunk(NamedTuple):
    """What is kept of a dataset.

    Args:
        rows: (M,) int64, ascending.
        counts: (C,) int64 samples kept of each class.
        scales: (C,) bits, S' of what is kept; NaN for an absent class.
        full_scales: (C,) bits, S' of the whole classes.
    """

    rows: Tensor
    counts: Tensor
    scales: Tensor
    full_scales: Tensor


@torch.no_grad()
def shrink(
    features: Tensor, labels: Tensor, keep_volume: float = 0.95, method: str = "greedy", seed: int = 0
) -> Shrunk:
    """Keep, of every class, a number k of chosen samples with ``keep_volume`` of its semantic scale.

    k is found by doubling and halving: k samples of the method reach the share and k - 1 do not. It is the smallest
    such k wherever S' of the chosen ones grows with k. A greedy choice takes the edge of a class first, so it holds
    the share with far fewer samples than a random one does, and they are less typical.

    Args:
        features: (N, d).
        labels: (N,) integers from 0.
        keep_volume: share of each class's S' to keep, in (0, 1].
        method: as in :func:`select`, like the seed.

    Raises:
        TypeError: features or labels are of another type.
        ValueError: their shapes do not match, there is no such method, or the share is outside (0, 1].

    Example:
        >>> line = torch.tensor([[-1.0], [-0.9], [0.0], [0.9], [1.0], [5.0]])
        >>> shrink(line, torch.tensor([0, 0, 0, 0, 0, 1])).rows.tolist()
        [0, 4, 5]
    """
    check_features(features, min_rows=1)
    num_classes = int(labels.max()) + 1 if len(labels) else 1
    check_labels(labels, len(features), num_classes)
    check_choice(method, tuple(METHODS), "method")
    if not 0.0 < keep_volume <= 1.0:
        raise ValueError(f"Expected `keep_volume` to be above 0 and at most 1, but got {keep_volume}.")
    counts = torch.zeros(num_classes, dtype=torch.int64)
    scales = torch.full((num_classes,), torch.nan, dtype=torch.float64)
    full_scales, kept = scales.clone(), []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        samples = features[members]
        full_scales[label] = semantic_scale(samples)
        rows = _fewest(samples, keep_volume * float(full_scales[label]), method, seed)
        counts[label], scales[label] = len(rows), semantic_scale(samples[rows])
        kept.append(members[rows])
    return Shrunk(torch.cat(kept).sort().values, counts, scales, full_scales)


def _fewest(samples: Tensor, bits: float, method: str, seed: int) -> Tensor:
    """Return the chosen rows of a class that reach some bits where one fewer would not."""
    most = len(samples)
    low, high = 0, 1
    rows = select(samples, high, method, seed)
    while float(semantic_scale(samples[rows])) < bits and high < most:
        low, high = high, min(2 * high, most)
        rows = select(samples, high, method, seed)
    while high - low > 1:
        middle = (low + high) // 2
        candidates = select(samples, middle, method, seed)
        if float(semantic_scale(samples[candidates])) >= bits:
            high, rows = middle, candidates
        else:
            low = middle
    return rows


def _around_mean(features: Tensor) -> Tensor:
    """Return float64 features (N, d) less their mean, taken over the differences to the first row."""
    shifted = features.double() - features[0].double()
    return shifted.sub_(shifted.mean(0))


def _check_size(size: int, num_rows: int) -> None:
    if not 1 <= size <= num_rows:
        raise ValueError(f"Expected `size` to be from 1 to the {num_rows} samples there are, but got {size}.")


def _squared_distances(centred: Tensor, row: int) -> Tensor:
    """Return squared distances of all samples to one, which itself is put below all: it is taken already."""
    distances = (centred - centred[row]).square().sum(1)
    distances[row] = -1.0
    return distances
