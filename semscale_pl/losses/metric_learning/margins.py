"""Softmax cross-entropy of scaled similarities, with a margin that the own class has to win by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.losses.metric_learning.similarity import SimilarityLoss
from semscale_pl.options import check


class NormSoftmax(SimilarityLoss):
    """Cross-entropy of cosines over a temperature, without offsets: weight it with semantic scales for DSB-NSM.

    Some codes put a layer norm without parameters before the embedding's unit length; this one does not.

    Args:
        temperature: sigma, what the cosines are divided by.

    Example:
        >>> NormSoftmax(temperature=0.5)(torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([0])).exp()
        tensor([1.7358])

    Reference: Zhai and Wu (BMVC 2019), eq. 3; Ma et al. (ICLR 2023), section 4.1.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        check("NormSoftmax", temperature=temperature)
        super().__init__(1.0 / temperature)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of cosines (B, C)."""
        return cross_entropy(self.scale * full_precision(logits), labels)


class CosFace(SimilarityLoss):
    """Cross-entropy of ``scale (s - margin e_y)``: the own class has to win by a margin of the cosine.

    Args:
        scale: inverse temperature.
        margin: taken off the similarity to the own class.

    Example:
        >>> CosFace(scale=2.0, margin=0.5)(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
        tensor([0.6931])

    Reference: Wang et al. (CVPR 2018), eq. 4.
    """

    def __init__(self, scale: float = 64.0, margin: float = 0.35) -> None:
        check(type(self).__name__, scale=scale, margin=margin)
        super().__init__(scale)
        self.margin = float(margin)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of similarities (B, C)."""
        values = full_precision(logits)
        return cross_entropy(self.scale * _with_own(values, labels, _own(values, labels) - self.margin), labels)


class SoftTriple(CosFace):
    """SoftTriple: CosFace's formula on the relaxed similarity to several centres of each class.

    The centres, their relaxation (K, gamma) and the regularizer (tau) are those of
    :class:`semscale_pl.models.centres.CentreClassifier`; with one centre a class the two losses are the same. Weight it
    with semantic scales for DSB-ST, with class-balanced weights for CB-ST.

    Args:
        scale: lambda, inverse temperature.
        margin: delta, taken off the similarity to the own class.

    Reference: Qian et al. (ICCV 2019), eq. 11; Ma et al. (ICLR 2023), section 4.1.
    """

    def __init__(self, scale: float = 20.0, margin: float = 0.01) -> None:
        super().__init__(scale, margin)


class ArcFace(SimilarityLoss):
    """Cross-entropy of scaled cosines, the own one being ``cos(theta_y + margin)``.

    Where theta_y + margin is above pi, it would fall again: there the own cosine less ``margin sin(margin)`` stands in
    its place, as in the authors' code.

    Args:
        scale: inverse temperature.
        margin: added to the angle to the own class, in radians.

    Example:
        >>> ArcFace(scale=1.0, margin=math.pi / 3)(torch.tensor([[1.0, 0.5]]), torch.tensor([0]))
        tensor([0.6931])

    Reference: Deng et al. (CVPR 2019), eq. 3.
    """

    def __init__(self, scale: float = 64.0, margin: float = 0.5) -> None:
        check("ArcFace", scale=scale, margin=margin)
        super().__init__(scale)
        self.margin = float(margin)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses of cosines (B, C)."""
        values = full_precision(logits)
        own = _own(values, labels)
        # The sine's derivative is infinite at cosines of -1 and 1: no gradient there instead.
        sine = (1.0 - own.square()).clamp_min(torch.finfo(own.dtype).eps ** 2).sqrt()
        turned = own * math.cos(self.margin) - sine * math.sin(self.margin)
        # theta + margin <= pi, without an arc cosine.
        moved = torch.where(own >= -math.cos(self.margin), turned, own - self.margin * math.sin(self.margin))
        return cross_entropy(self.scale * _with_own(values, labels, moved), labels)


def _own(values: Tensor, labels: Tensor) -> Tensor:
    """Return each row's value of its own class (B,)."""
    return values.gather(1, labels[:, None])[:, 0]


def _with_own(values: Tensor, labels: Tensor, own: Tensor) -> Tensor:
    """Return values (B, C) with others (B,) for the own classes."""
    return values.scatter(1, labels[:, None], own[:, None])
