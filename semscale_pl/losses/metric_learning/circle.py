"""Circle loss in its form for class labels: a similarity is pulled the harder, the farther it is from its optimum."""

from __future__ import annotations

from torch import Tensor

from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.losses.metric_learning.similarity import SimilarityLoss
from semscale_pl.options import check


def circle_logits(similarities: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return what the softmax of Circle loss is taken of, before the scale (B, C).

    ``[1 + m - s_y]+ (s_y - 1 + m)`` for the own class and ``[s_j + m]+ (s_j - m)`` for others; the factors in brackets
    are constants of the gradient.

    Args:
        similarities: (B, C) in [-1, 1].
        labels: (B,).
        margin: m, the relaxation.
    """
    held, own = similarities.detach(), labels[:, None]
    others = (held + margin).clamp_min(0.0) * (similarities - margin)
    mine = (1.0 + margin - held.gather(1, own)).clamp_min(0.0) * (similarities.gather(1, own) - (1.0 - margin))
    return others.scatter(1, own, mine)


class Circle(SimilarityLoss):
    """Circle loss with class labels: ``log(1 + sum_j exp(scale (a_j (s_j - m) - a_y (s_y - 1 + m))))``.

    Args:
        scale: the paper's gamma.
        margin: m, the relaxation: similarities are to come above 1 - m to the own centre and below m to others.

    Example:
        >>> import torch
        >>> Circle(scale=4.0, margin=0.5)(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.6931])

    Reference: Sun et al. (CVPR 2020), eq. 6 to 8; margin and scale are those of its fine-grained retrieval.
    """

    def __init__(self, scale: float = 80.0, margin: float = 0.4) -> None:
        check("Circle", scale=scale, margin=margin)
        super().__init__(scale)
        self.margin = float(margin)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of similarities (B, C)."""
        return cross_entropy(self.scale * circle_logits(full_precision(logits), labels, self.margin), labels)
