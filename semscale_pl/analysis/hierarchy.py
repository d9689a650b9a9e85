"""The hierarchy probe: a class belongs to the parent whose volume grows least when the class is mixed in."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.analysis.class_moments import Moments
from semscale_pl.geometry import semantic_scale
from semscale_pl.seeding import derive_seed

_DRAW = 1


class Probe(NamedTuple):
    """What mixing every class into every parent says.

    Args:
        ratios: (C, P) S' with the class over S' without it.
        matched: (C, P) the same, with as many samples in both.
        distances: (C, P) between the class's centre and the parent's.
    """

    ratios: Tensor
    matched: Tensor
    distances: Tensor


def mixing_ratio(parent: Tensor, child: Tensor) -> float:
    """Return S' of a parent with a child's samples over S' of the parent alone.

    Args:
        parent: (m, d).
        child: (n, d).

    Returns:
        The ratio; NaN for a parent without volume.

    Example:
        >>> round(mixing_ratio(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-1.0], [1.0]])), 6)
        1.0

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    alone = float(semantic_scale(parent))
    return float(semantic_scale(torch.cat([parent, child]))) / alone if alone > 0.0 else math.nan


def leave_one_out(features: Tensor, labels: Tensor, parents: Tensor, seed: int = 0) -> Probe:
    """Take each class out of its parent in turn and mix it into every parent.

    With s classes to a parent and m samples to a class, every parent has (s - 1) m samples: all of those of the classes
    that are left to the child's own parent, and as many, equally from its s classes, of every other parent. The child
    adds m. In the matched ratio the mixture has (s - 1) m samples too: the parent's share is drawn down to make room.

    Args:
        features: (N, d), as many of every class.
        labels: (N,) in 0..C-1.
        parents: (C,) parent of each class, in 0..P-1, as many classes in each.
        seed: of the draws.

    Returns:
        Ratios and distances.

    Raises:
        ValueError: the classes or the parents are not of one size, or too small.

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    size, siblings = _sizes(labels, parents)
    left = siblings - 1
    ranks = _ranks(labels, derive_seed(seed, _DRAW))
    total = left * size
    # A child's samples in a matched mixture: a share of 1 / siblings, as in an unmatched one.
    room = total // siblings
    numbers = (size, total // siblings, (total - room) // left, (total - room) // siblings, room)
    whole, fewer, own_less, other_less, child_less = (
        _first(features, labels, ranks, number, len(parents)) for number in numbers
    )
    member = parents[None, :] == torch.arange(int(parents.max()) + 1)[:, None]
    rows = []
    for child, own in enumerate(parents.tolist()):
        groups = member.clone()
        groups[own, child] = False
        alone = _composed(whole, fewer, groups, own)
        mixed = alone.joined(whole.take([child]))
        matched = _composed(own_less, other_less, groups, own).joined(child_less.take([child]))
        before = alone.scales()
        distances = (alone.means - whole.means[child]).norm(dim=1)
        rows.append((mixed.scales() / before, matched.scales() / before, distances))
    return Probe(*(torch.stack(part) for part in zip(*rows, strict=True)))


def predictions(values: Tensor) -> Tensor:
    """Return the parent with the least value of each class, (C,)."""
    return values.argmin(1)


def true_ranks(values: Tensor, parents: Tensor) -> Tensor:
    """Return how many parents come before the true one, (C,); 0 where the prediction is right.

    Example:
        >>> true_ranks(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([0, 1])).tolist()
        [0, 1]
    """
    own = values.gather(1, parents[:, None])
    return (values < own).sum(1)


def _sizes(labels: Tensor, parents: Tensor) -> tuple[int, int]:
    counts, families = torch.bincount(labels, minlength=len(parents)), torch.bincount(parents)
    size, siblings = int(counts[0]), int(families[0])
    if not bool((counts == size).all()) or not bool((families == siblings).all()) or size < siblings or siblings < 2:
        raise ValueError(
            "Expected as many samples in every class and as many classes (2 or more) in every parent, but got "
            f"{int(counts.min())}..{int(counts.max())} samples and {int(families.min())}..{int(families.max())} "
            "classes. Draw equal numbers first."
        )
    return size, siblings


def _ranks(labels: Tensor, seed: int) -> Tensor:
    """Number the samples of each class in a random order, (N,) from 0."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels[order]]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts
    return ranks


def _first(features: Tensor, labels: Tensor, ranks: Tensor, count: int, num_classes: int) -> Moments:
    chosen = ranks < count
    return Moments.of(features[chosen], labels[chosen], num_classes)


def _composed(own_parts: Moments, other_parts: Moments, groups: Tensor, own: int) -> Moments:
    """Make the parents: the child's own of one selection of samples, the others of another."""
    others, mine = other_parts.grouped(groups), own_parts.grouped(groups[own : own + 1])
    place = torch.arange(len(groups)) == own
    return Moments(
        torch.where(place, mine.counts, others.counts),
        torch.where(place[:, None], mine.means, others.means),
        torch.where(place[:, None, None], mine.scatter, others.scatter),
    )
