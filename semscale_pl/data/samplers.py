"""Which classes an epoch shows how often: instance, class-balanced, square-root, progressive and reverse sampling."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from semscale_pl.seeding import derive_seed


class Sampling(Protocol):
    """A sampling rule, without state."""

    def class_frequencies(self, counts: Tensor, epoch: int) -> Tensor:
        """Return the probability q_c that a drawn sample is of class c.

        Args:
            counts: (C,) training samples of each class.
            epoch: from 0.

        Returns:
            (C,) float64, sum 1; 0 for an empty class.
        """

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return the samples of an epoch, as a function of its arguments alone.

        Args:
            labels: (N,) class of each sample.
            counts: (C,) training samples of each class.
            epoch: from 0.
            seed: any integer.

        Returns:
            (N,) positions.
        """


class InstanceSampling:
    """Every sample once per epoch, in a random order: q_c = n_c / N."""

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return n_c / N, (C,) float64."""
        return _normalised(counts.double())

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return a permutation of all samples."""
        return torch.randperm(len(labels), generator=_generator(seed, epoch))


class PowerSampling:
    """N draws with replacement: a class with q_c in proportion to n_c^power, then any of its samples.

    Args:
        power: 1 is instance sampling with replacement, 1/2 square-root, 0 class-balanced, -1 reverse sampling.

    Reference: Kang et al. (ICLR 2020), section 3; reverse sampling: Zhou et al. (CVPR 2020), section 4.2.
    """

    def __init__(self, power: float) -> None:
        self.power = power

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return n_c^power over its sum, (C,) float64.

        Example:
            >>> PowerSampling(0.5).class_frequencies(torch.tensor([9, 1, 0])).tolist()
            [0.75, 0.25, 0.0]
        """
        powers = counts.clamp(min=1).double() ** self.power
        return _normalised(torch.where(counts > 0, powers, 0.0))

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return N positions, drawn with replacement."""
        return _draw(labels, counts, self.class_frequencies(counts, epoch), _generator(seed, epoch))


class ProgressiveSampling:
    """From instance sampling in the first epoch to class-balanced sampling in the last, linearly.

    Args:
        num_epochs: of the training.

    Reference: Kang et al. (ICLR 2020), section 3, equation 2.
    """

    def __init__(self, num_epochs: int) -> None:
        if num_epochs < 1:
            raise ValueError(f"Expected `num_epochs` to be at least 1, but got {num_epochs}. Use trainer.max_epochs.")
        self.num_epochs = num_epochs

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return (1 - t) n_c / N + t / C with t = epoch / (num_epochs - 1), (C,) float64."""
        share = min(1.0, epoch / max(1, self.num_epochs - 1))
        instance = _normalised(counts.double())
        return (1 - share) * instance + share * PowerSampling(0.0).class_frequencies(counts)

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return N positions, drawn with replacement."""
        return _draw(labels, counts, self.class_frequencies(counts, epoch), _generator(seed, epoch))


def _normalised(values: Tensor) -> Tensor:
    return values / values.sum()


def _draw(labels: Tensor, counts: Tensor, frequencies: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = (frequencies / counts.clamp(min=1))[labels]
    # Inverse of the cumulative distribution: torch.multinomial stops at 2^24 samples.
    edges = probabilities.cumsum(0)
    draws = torch.rand(len(labels), generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, draws, right=True).clamp(max=len(labels) - 1)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, epoch))
