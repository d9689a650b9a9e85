"""Proxy-Anchor: each class's proxy gathers its samples of the batch and repels the others."""

from __future__ import annotations

import torch
from torch import Tensor

from semscale_pl.distributed import gather_rows, rank, row_counts
from semscale_pl.losses.base import BatchLoss
from semscale_pl.losses.functional import full_precision
from semscale_pl.losses.metric_learning.similarity import SimilarityLoss
from semscale_pl.options import check


def proxy_anchor_terms(similarities: Tensor, labels: Tensor, scale: float, margin: float) -> tuple[Tensor, Tensor]:
    """Return what each class's proxy adds by its own samples and by the others', (C,) and (C,).

    ``log(1 + sum_own exp(-scale (s - margin)))``, 0 for a class without samples, and
    ``log(1 + sum_others exp(scale (s + margin)))``.

    Args:
        similarities: (B, C).
        labels: (B,).
        scale: the paper's alpha.
        margin: the paper's delta.
    """
    own = torch.zeros_like(similarities, dtype=torch.bool).scatter(1, labels[:, None], True)
    gathering = (-scale * (similarities - margin)).masked_fill(~own, -torch.inf)
    repelling = (scale * (similarities + margin)).masked_fill(own, -torch.inf)
    # The 1 in the logarithm as a further row of zeros.
    one = similarities.new_zeros(1, similarities.shape[1])
    return torch.cat([gathering, one]).logsumexp(dim=0), torch.cat([repelling, one]).logsumexp(dim=0)


class ProxyAnchor(SimilarityLoss, BatchLoss):
    """Proxy-Anchor: the mean over the batch's classes of what gathers, and over all classes of what repels.

    Its elements are classes, not samples: a class weight multiplies both of that class's terms, also the repelling one
    of a class that the batch does not hold, and the two divisors stay the numbers of classes. With
    ``normalization=class`` the weights then have mean 1 where they enter; ``sample`` makes them larger as a whole, the
    more the longer the tail. Weights of single samples and mixed images have no place in it and are refused. A class's
    samples of all ranks stand in one term: they exchange their similarities, so that ranks equal one process.

    Args:
        scale: the paper's alpha.
        margin: the paper's delta.

    Example:
        >>> ProxyAnchor(scale=1.0, margin=0.0).batch_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.0397)

    Reference: Kim et al. (CVPR 2020), eq. 4.
    """

    def __init__(self, scale: float = 32.0, margin: float = 0.1) -> None:
        check("ProxyAnchor", scale=scale, margin=margin)
        super().__init__(scale)
        self.margin = float(margin)

    def batch_loss(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Return the loss () of the batches of all ranks; its gradient is this rank's share times the ranks."""
        values, every_label, ranks = _of_all_ranks(full_precision(logits), labels)
        gathering, repelling = proxy_anchor_terms(values, every_label, self.scale, self.margin)
        if class_weights is not None:
            gathering, repelling = gathering * class_weights.to(values), repelling * class_weights.to(values)
        present = torch.zeros_like(gathering).index_fill(0, every_label, 1.0).sum()
        loss = gathering.sum() / present + repelling.mean()
        # DDP takes the mean of the ranks' gradients, each of which is a part of the sum.
        return loss if ranks == 1 else ranks * loss - (ranks - 1) * loss.detach()


def _of_all_ranks(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the rows of all ranks, with gradients for this rank's own, and the number of ranks."""
    counts = row_counts(values)
    if len(counts) == 1:
        return values, labels, 1
    every, every_label = gather_rows(values, labels, counts=counts)
    first = sum(counts[: rank()])
    return torch.cat([every[:first], values, every[first + len(values) :]]), every_label, len(counts)
