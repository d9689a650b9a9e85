"""Classifier heads: ``head.features(x)`` is what the feature pool stores, ``head(features)`` the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.options import check


class LinearClassifier(nn.Module):
    """Map features to logits by an affine function.

    Weights and biases start uniform in ``[-1 / sqrt(num_features), 1 / sqrt(num_features)]``, as in ``nn.Linear``.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        bias: whether each class has an offset.

    Raises:
        ValueError: fewer than one feature or class.

    Example:
        >>> head = LinearClassifier(num_features=4, num_classes=3)
        >>> head(head.features(torch.zeros(2, 4))).shape
        torch.Size([2, 3])
    """

    def __init__(self, num_features: int, num_classes: int, bias: bool = True) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes, bias=bias)
        self.num_features, self.num_classes = num_features, num_classes
        self.linear = nn.Linear(num_features, num_classes, bias=bias)

    def start_bias(self, value: float) -> None:
        """Start every class's offset at a value; -log(C - 1) keeps C sigmoid losses small at first."""
        if self.linear.bias is not None:
            nn.init.constant_(self.linear.bias, value)

    def offsets(self) -> list[nn.Parameter]:
        """Return the parameters that `start_bias` sets: the classes' offsets, or none."""
        return [] if self.linear.bias is None else [self.linear.bias]

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's output (B, D) as it is."""
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, D) to logits (B, C)."""
        return self.linear(features)

    def penalty(self) -> Tensor | None:
        """Return None: this head adds nothing to the loss."""
        return None


class CosineClassifier(nn.Module):
    """Map features to ``scale`` times the cosine between feature and class vector.

    The classes' vectors start uniform on the unit sphere; their length never matters to the logits. With the default
    ``scale=1`` the logits are cosines, which LDAM expects: it multiplies by its own scale after taking off the margin.
    A loss without a scale of its own needs one here (NormSoftmax: 20; 16 to 32 with cross-entropy), because cosines in
    [-1, 1] alone cannot separate many classes.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        scale: factor of the cosines, an inverse temperature.

    Raises:
        ValueError: fewer than one feature or class, or a scale that is not positive and finite.

    Example:
        >>> head = CosineClassifier(num_features=4, num_classes=3)
        >>> head.features(torch.tensor([[0.0, 3.0, 4.0, 0.0]]))
        tensor([[0.0000, 0.6000, 0.8000, 0.0000]])

    Reference: Cao et al. (NeurIPS 2019), section 3.2; Zhai and Wu (BMVC 2019), eq. 3
    """

    def __init__(self, num_features: int, num_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes, scale=scale)
        self.num_features, self.num_classes, self.scale = num_features, num_classes, float(scale)
        self.weight = nn.Parameter(F.normalize(torch.randn(num_classes, num_features), dim=1))

    def features(self, x: Tensor) -> Tensor:
        """Scale the backbone's output (B, D) to unit length, row by row; a zero row stays zero."""
        return F.normalize(x, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map unit vectors (B, D), the output of ``features``, to logits (B, C) in [-scale, scale]."""
        return self.scale * F.linear(features, F.normalize(self.weight, dim=1))

    def penalty(self) -> Tensor | None:
        """Return None: this head adds nothing to the loss."""
        return None
