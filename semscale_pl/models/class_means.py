"""Class means of features, and the head that classifies by the nearest of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.geometry import class_centres
from semscale_pl.models.classifiers import Affine
from semscale_pl.options import check

# Logit of a class without training samples, which no other reaches: it is never predicted.
_NEVER = -1e4


class ClassMeans(NamedTuple):
    """Mean feature of each class (C, D), NaN rows for absent ones, and () the mean squared distance to one's own.

    Example:
        >>> means = ClassMeans.of(torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([0, 0, 1]), 2)
        >>> means.centres.flatten().tolist(), round(float(means.spread), 3)
        ([1.0, 7.0], 0.667)
    """

    centres: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> ClassMeans:
        """Compute the means of features (N, D) with labels (N,) in float64."""
        centres = class_centres(features, labels, num_classes)
        total = centres.new_zeros(())
        for rows, own in zip(features.split(8192), labels.split(8192), strict=True):
            total += (rows.double() - centres[own]).square().sum()
        return cls(centres, total / max(1, len(labels)))

    def head(self, metric: str, scale: float = 1.0) -> Affine:
        """Return the nearest-mean rule as an affine head, whose largest logit is the nearest mean's.

        Args:
            metric: ``euclidean``: logits ``-scale ||x - mean||^2 / (2 spread)``, without the part that all classes
                share; ``cosine``: ``scale`` times the cosine, for an input of unit length.
            scale: factor of the logits.
        """
        check(metric=metric, scale=scale)
        absent = self.centres.isnan().any(dim=1)
        means = torch.where(absent[:, None], 0.0, self.centres)
        if metric == "cosine":
            weight, bias = scale * F.normalize(means, dim=1), torch.zeros_like(means[:, 0])
        else:
            # Without any spread (one sample a class) the distances themselves count.
            factor = scale / torch.where(self.spread > 0, self.spread, 1.0)
            weight, bias = factor * means, -0.5 * factor * means.square().sum(dim=1)
        return Affine(weight, torch.where(absent, _NEVER, bias), metric == "cosine")


class NearestClassMean(nn.Module):
    """Classify by the nearest mean of the training features; nothing in this head trains.

    :class:`semscale_pl.callbacks.head_start.HeadStart` sets the means when training begins and, where the backbone
    trains, after every epoch; until then all logits are 0.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        metric: ``cosine`` or ``euclidean``, see :meth:`ClassMeans.head`.
        scale: factor of the logits: how sure the head is, and how sharply a backbone that trains feels it.

    Example:
        >>> head = NearestClassMean(num_features=1, num_classes=2, metric="euclidean")
        >>> head.set_means(ClassMeans.of(torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([0, 0, 1]), 2))
        >>> head(torch.tensor([[3.9], [4.1]])).argmax(dim=1)
        tensor([0, 1])

    Reference: Kang et al. (ICLR 2020), section 4.1; Mensink et al. (TPAMI 2013), section 3.2.
    """

    weight: Tensor
    bias: Tensor
    init = "class_means"

    def __init__(self, num_features: int, num_classes: int, metric: str = "cosine", scale: float = 16.0) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes, metric=metric, scale=scale)
        self.num_features, self.num_classes, self.metric, self.scale = num_features, num_classes, metric, float(scale)
        self.register_buffer("weight", torch.zeros(num_classes, num_features))
        self.register_buffer("bias", torch.zeros(num_classes))

    def set_means(self, means: ClassMeans) -> None:
        """Take new class means."""
        found = means.head(self.metric, self.scale)
        self.weight.copy_(found.weight)
        assert found.bias is not None
        self.bias.copy_(found.bias)

    def affine(self) -> Affine:
        """Return a copy of the head as an affine function."""
        return Affine(self.weight.clone(), self.bias.clone(), self.metric == "cosine")

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's output (B, D), at unit length for cosines."""
        return F.normalize(x, dim=1) if self.metric == "cosine" else x

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, D) to logits (B, C)."""
        return F.linear(features, self.weight, self.bias)

    def penalty(self) -> Tensor | None:
        """Return None: this head adds nothing to the loss."""
        return None
