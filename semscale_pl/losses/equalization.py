"""Softmax equalization loss: rare classes are left out of the denominator of other classes' samples at random."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.options import check

# The default threshold in units of the even share 1/C: a choice of this project that works for any number of classes.
SHARE_OF_EVEN = 0.4


def equalization(logits: Tensor, labels: Tensor, ignored: Tensor) -> Tensor:
    """Return the cross-entropy over a sample's own class and those that are not ignored.

    Args:
        logits: (B, C).
        labels: (B,).
        ignored: (B, C) bool, True where a class takes no part as a negative; it is overruled for the true class.

    Returns:
        (B,) nats; 0 where all negatives are ignored.
    """
    negatives = ignored.scatter(1, labels[:, None], False)
    return cross_entropy(full_precision(logits).masked_fill(negatives, -torch.inf), labels)


class Equalization(PerSampleLoss):
    """Softmax equalization loss (version 1).

    In training each class with a frequency under the threshold is dropped from each sample's negatives with
    probability gamma, drawn anew for every sample and class. The draw comes from torch's own generator, as dropout's
    does, or from the one passed to `draw`. In evaluation mode nothing is dropped and the loss is plain cross-entropy.

    Args:
        gamma: probability of dropping a rare negative, in [0, 1].
        threshold: share of the training images under which a class is rare, the paper's lambda; None for 0.4 / C. The
            paper sets it for each dataset: state the value beside a result.

    Example:
        >>> loss = Equalization(gamma=1.0, threshold=0.2)
        >>> loss.setup(torch.tensor([6.0, 3.0, 1.0]))
        >>> loss(torch.zeros(2, 3), torch.tensor([0, 2])).exp()
        tensor([2., 3.])

    Reference: Tan et al. (CVPR 2020), section "Softmax Equalization Loss".
    """

    from_counts: ClassVar[bool] = True

    def __init__(self, gamma: float = 0.9, threshold: float | None = None) -> None:
        super().__init__()
        check("Equalization", "loss", gamma=gamma, threshold=threshold)
        self.gamma = float(gamma)
        self.threshold = None if threshold is None else float(threshold)

    def rare_classes(self, frequencies: Tensor) -> Tensor:
        """Return (C,) bool, True where a class is rare; frequencies (C,) are probabilities."""
        limit = SHARE_OF_EVEN / frequencies.shape[0] if self.threshold is None else self.threshold
        return frequencies < limit

    def draw(self, rows: int, frequencies: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw which classes each of B samples ignores as negatives: (B, C) bool, from probabilities (C,).

        The generator is on the device of the frequencies; None is torch's own.
        """
        chances = torch.rand((rows, len(frequencies)), generator=generator, device=frequencies.device)
        return (chances < self.gamma) & self.rare_classes(frequencies)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        frequencies = self.require_frequencies(logits)
        if not self.training:
            return cross_entropy(logits, labels)
        return equalization(logits, labels, self.draw(logits.shape[0], frequencies))
