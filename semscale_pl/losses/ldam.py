"""Label-distribution-aware margins: the rarer a class, the larger the margin its samples have to win by."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import cross_entropy, fill_absent, full_precision
from semscale_pl.options import check


def ldam_margins(frequencies: Tensor, max_margin: float = 0.5) -> Tensor:
    """Return the margin of each class (C,) in units of the cosine, proportional to its count to the power -1/4.

    Only the ratios of the frequencies matter; a class with 0 counts as a rarest one.
    """
    raw = fill_absent(frequencies).pow(-0.25)
    return raw * (max_margin / raw.max())


class LDAM(PerSampleLoss):
    """Cross-entropy of ``scale (cos - margin_y e_y)``, the cosines being between features and class weights.

    It needs a cosine classifier with scale 1, for it applies the scale itself, after the margin is taken off.
    The margins follow the counts of the training images also where a sampler shows all classes equally often: they
    stand for how much is known of a class. Codes that scale in the classifier and take ``scale * margin`` off compute
    the same; scaling in both places, or features that are not normalised, do not.

    Args:
        max_margin: margin of the rarest class.
        scale: inverse temperature of the cosines.

    Example:
        >>> loss = LDAM(max_margin=0.5, scale=2.0)
        >>> loss.setup(torch.tensor([16.0, 1.0]))
        >>> loss(torch.tensor([[0.0, 0.5]]), torch.tensor([1]))
        tensor([0.6931])

    Reference: Cao et al. (NeurIPS 2019), section 3.2.
    """

    from_counts: ClassVar[bool] = True

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        check(max_margin=max_margin, scale=scale)
        self.max_margin, self.scale = float(max_margin), float(scale)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of cosines (B, C)."""
        values, margins = full_precision(logits), ldam_margins(self.require_frequencies(logits), self.max_margin)
        taken = torch.zeros_like(values).scatter(1, labels[:, None], margins.to(values)[labels][:, None])
        return cross_entropy(self.scale * (values - taken), labels)

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the scaled cosines (B, C): the softmax of bare ones is nearly uniform."""
        return self.scale * logits
