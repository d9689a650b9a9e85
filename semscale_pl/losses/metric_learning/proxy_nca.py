"""Proxy-NCA: near the own class's proxy and far from all others, in squared distances of unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.losses.metric_learning.similarity import SimilarityLoss
from semscale_pl.options import check


class ProxyNCA(SimilarityLoss):
    """``-log(exp(-d_y) / sum_j exp(-d_j))`` with d the squared distance ``2 - 2 s`` of unit vectors, times the scale.

    Args:
        scale: factor of the distances; 1 in the paper.
        own_in_denominator: let the sum run over all classes, as in ProxyNCA++ and some libraries, instead of the others
            alone, as in the paper, where the loss has no lower bound of 0: a weight then enlarges a reward, too.

    Example:
        >>> ProxyNCA()(torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([0])).exp()
        tensor([1.3679])

    Reference: Movshovitz-Attias et al. (ICCV 2017), eq. 3 and 5; Teh et al. (ECCV 2020), section 3.3.
    """

    def __init__(self, scale: float = 1.0, own_in_denominator: bool = False) -> None:
        check("ProxyNCA", scale=scale, own_in_denominator=own_in_denominator)
        # The part of the distances that all classes share does not matter to the softmax.
        super().__init__(2.0 * scale)
        self.own_in_denominator = own_in_denominator

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of cosines (B, C).

        Raises:
            ValueError: there is one class alone, and so no other.
        """
        values = self.scale * full_precision(logits)
        if self.own_in_denominator:
            return cross_entropy(values, labels)
        if logits.shape[1] < 2:
            raise ValueError("Expected at least 2 classes for Proxy-NCA, but got 1. Set own_in_denominator.")
        others = values.scatter(1, labels[:, None], -torch.inf)
        return others.logsumexp(dim=1) - values.gather(1, labels[:, None])[:, 0]
