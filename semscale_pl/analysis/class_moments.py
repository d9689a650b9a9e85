"""Counts, sums and scatter matrices of classes, which can be merged without looking at the samples again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semscale_pl.scales import scales_from_moments


@dataclass(frozen=True)
class Moments:
    """What S' and centres of K sets of samples need.

    Args:
        counts: (K,) samples.
        means: (K, d) float64.
        scatter: (K, d, d) float64 sums of the outer products of the centred samples.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> Moments:
        """Compute the moments of each class; all classes must have samples.

        Args:
            features: (N, d).
            labels: (N,) in 0..C-1.
            num_classes: C.

        Raises:
            ValueError: a class has no sample.
        """
        counts = torch.bincount(labels, minlength=num_classes)
        if int(counts.min()) == 0:
            raise ValueError(f"Expected samples of every class, but class {int(counts.argmin())} has none.")
        parts = [features[labels == label].double() for label in range(num_classes)]
        means = torch.stack([part.mean(0) for part in parts])
        centred = [part - mean for part, mean in zip(parts, means, strict=True)]
        return cls(counts, means, torch.stack([part.T @ part for part in centred]))

    def grouped(self, groups: Tensor) -> Moments:
        """Merge sets into larger ones.

        Args:
            groups: (G, K) with True where a set belongs to a group; each group has one at least.
        """
        weights = groups.double() * self.counts
        counts = weights.sum(1)
        means = weights @ self.means / counts[:, None]
        # A group's scatter is that within its sets and that of their means, each counted once a sample.
        within = torch.einsum("gk,kij->gij", groups.double(), self.scatter)
        shifts = self.means[None] - means[:, None]
        return Moments(counts, means, within + torch.einsum("gk,gki,gkj->gij", weights, shifts, shifts))

    def joined(self, other: Moments) -> Moments:
        """Add one further set to each set.

        Args:
            other: moments of a single set, or of as many sets.
        """
        counts = self.counts + other.counts
        share = other.counts / counts
        shifts = other.means - self.means
        cross = (self.counts * share)[:, None, None] * shifts[:, :, None] * shifts[:, None, :]
        means = self.means + share[:, None] * shifts
        return Moments(counts, means, self.scatter + other.scatter + cross)

    def take(self, rows: Tensor | list[int]) -> Moments:
        """Return some of the sets."""
        return Moments(self.counts[rows], self.means[rows], self.scatter[rows])

    def scales(self) -> Tensor:
        """Return S' of each set, (K,) bits."""
        return scales_from_moments(self.counts, self.scatter)
