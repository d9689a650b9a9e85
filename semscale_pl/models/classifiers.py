"""Classifier heads: ``head.features(x)`` is what the feature pool stores, ``head(features)`` the logits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.options import check

# Of CLIP (Radford et al. 2021), for the class names of `init=text`.
TEMPLATE = "a photo of a {}."
# Vectors of at most this length have no direction.
_SHORTEST = 1e-12


class Affine(NamedTuple):
    """A head as ``logits = weight x + bias`` of its input x, which is ``head.features`` of the backbone's output.

    ``weight`` is (C, D), ``bias`` (C,) or None, and ``normalize`` says that the input has unit length.
    """

    weight: Tensor
    bias: Tensor | None
    normalize: bool


def unit_length(x: Tensor) -> Tensor:
    """Scale vectors (..., D) to unit length; a zero vector stays zero and hands its gradient on as it is.

    `torch.nn.functional.normalize` multiplies the gradient of a zero vector by 1e12.
    """
    norms = x.norm(dim=-1, keepdim=True)
    return x / torch.where(norms > _SHORTEST, norms, 1.0)


def cosines(features: Tensor, vectors: Tensor) -> Tensor:
    """Return the products (B, C) of unit vectors (B, D) and the directions of vectors (C, D), in float32 at least.

    Autocast would round them to 8 bits, which a loss multiplies by 20 to 80.
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.linear(_wide(features), unit_length(_wide(vectors)))


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Means(Protocol):
    """Class means as :class:`semscale_pl.models.class_means.ClassMeans` has them."""

    def head(self, metric: str, scale: float) -> Affine:
        """Return the nearest-mean rule as an affine head."""


class LinearClassifier(nn.Module):
    """Map features to logits by an affine function.

    Weights and biases start uniform in ``[-1 / sqrt(num_features), 1 / sqrt(num_features)]``, as in ``nn.Linear``.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        bias: whether each class has an offset.
        normalize: whether the input is scaled to unit length, row by row.
        init: ``random``; ``class_means``: the head classifies like the nearest class mean before its first step; or
            ``text``: the backbone's features of the class names. The latter two are set by
            :class:`semscale_pl.callbacks.head_start.HeadStart` when training begins.
        template: for ``init=text``, such as ``a photo of a {}.``

    Raises:
        ValueError: fewer than one feature or class.

    Example:
        >>> head = LinearClassifier(num_features=4, num_classes=3)
        >>> head(head.features(torch.zeros(2, 4))).shape
        torch.Size([2, 3])
    """

    has_fixed_features = True  # `features` is a function of its input alone

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        bias: bool = True,
        normalize: bool = False,
        init: str = "random",
        template: str = TEMPLATE,
    ) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes, bias=bias)
        check("classifier", normalize=normalize, init=init, template=template)
        self.num_features, self.num_classes = num_features, num_classes
        self.normalize, self.init, self.template = normalize, init, template
        self.linear = nn.Linear(num_features, num_classes, bias=bias)

    def reset_parameters(self) -> None:
        """Start again at random."""
        self.linear.reset_parameters()

    def start_from_means(self, means: Means) -> None:
        """Classify like the nearest class mean; without a bias only the directions of the means are taken."""
        if self.linear.bias is None:
            self.start_from_vectors(means.head("cosine", 1.0).weight)
        else:
            self._take(means.head("euclidean", 1.0))

    @torch.no_grad()
    def start_from_vectors(self, vectors: Tensor) -> None:
        """Take the directions of (C, D) vectors, without offsets."""
        self.linear.weight.copy_(F.normalize(vectors, dim=1))
        if self.linear.bias is not None:
            self.linear.bias.zero_()

    @torch.no_grad()
    def _take(self, affine: Affine) -> None:
        self.linear.weight.copy_(affine.weight)
        if self.linear.bias is not None and affine.bias is not None:
            self.linear.bias.copy_(affine.bias)

    @classmethod
    def of(cls, affine: Affine) -> LinearClassifier:
        """Return the head that computes an affine function, in its dtype."""
        num_classes, num_features = affine.weight.shape
        head = cls(num_features, num_classes, bias=affine.bias is not None, normalize=affine.normalize)
        head.to(affine.weight.dtype)._take(affine)
        return head

    @torch.no_grad()
    def affine(self) -> Affine:
        """Return a copy of the head as an affine function."""
        bias = None if self.linear.bias is None else self.linear.bias.clone()
        return Affine(self.linear.weight.clone(), bias, self.normalize)

    def start_bias(self, value: float) -> None:
        """Start every class's offset at a value; -log(C - 1) keeps C sigmoid losses small at first."""
        if self.linear.bias is not None:
            nn.init.constant_(self.linear.bias, value)

    def offsets(self) -> list[nn.Parameter]:
        """Return the parameters that `start_bias` sets: the classes' offsets, or none."""
        return [] if self.linear.bias is None else [self.linear.bias]

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's output (B, D), as it is or at unit length; a zero row stays zero."""
        return unit_length(x) if self.normalize else x

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
        learn_scale: whether the factor is learned, as ``scale * exp(t)`` from t = 0: it stays positive, and weight
            decay draws it back to ``scale``.
        init: ``random``, or the directions of ``class_means`` or of the backbone's features of the class names
            (``text``), see :class:`LinearClassifier`.
        template: for ``init=text``.

    Raises:
        ValueError: fewer than one feature or class, or a scale that is not positive and finite.

    Example:
        >>> head = CosineClassifier(num_features=4, num_classes=3)
        >>> head.features(torch.tensor([[0.0, 3.0, 4.0, 0.0]]))
        tensor([[0.0000, 0.6000, 0.8000, 0.0000]])

    Reference: Cao et al. (NeurIPS 2019), section 3.2; Zhai and Wu (BMVC 2019), eq. 3
    """

    has_fixed_features = True  # `features` is a function of its input alone

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        scale: float = 1.0,
        learn_scale: bool = False,
        init: str = "random",
        template: str = TEMPLATE,
    ) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes, scale=scale)
        check("classifier", learn_scale=learn_scale, init=init, template=template)
        self.num_features, self.num_classes, self.scale = num_features, num_classes, float(scale)
        self.init, self.template = init, template
        self.weight = nn.Parameter(F.normalize(torch.randn(num_classes, num_features), dim=1))
        self.log_factor = nn.Parameter(torch.zeros(())) if learn_scale else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start again at random, and at the first scale."""
        self.weight.copy_(F.normalize(torch.randn_like(self.weight), dim=1))
        if self.log_factor is not None:
            self.log_factor.zero_()

    def start_from_means(self, means: Means) -> None:
        """Classify like the class mean with the largest cosine."""
        self.start_from_vectors(means.head("cosine", 1.0).weight)

    @torch.no_grad()
    def start_from_vectors(self, vectors: Tensor) -> None:
        """Take the directions of (C, D) vectors."""
        self.weight.copy_(F.normalize(vectors, dim=1))

    @property
    def factor(self) -> Tensor | float:
        """What the cosines are multiplied by: the scale, fixed or as learned so far."""
        return self.scale if self.log_factor is None else self.scale * self.log_factor.exp()

    @torch.no_grad()
    def affine(self) -> Affine:
        """Return the head as an affine function of unit vectors."""
        return Affine(self.factor * F.normalize(self.weight, dim=1), None, True)

    def features(self, x: Tensor) -> Tensor:
        """Scale the backbone's output (B, D) to unit length, row by row; a zero row stays zero."""
        return unit_length(x)

    def forward(self, features: Tensor) -> Tensor:
        """Map unit vectors (B, D), the output of ``features``, to logits (B, C) in [-scale, scale]."""
        return self.factor * cosines(features, self.weight)

    def penalty(self) -> Tensor | None:
        """Return None: this head adds nothing to the loss."""
        return None


class ZeroShotClassifier(CosineClassifier):
    """Classify by the cosines to the backbone's features of the class names; nothing trains, nor does the backbone.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        scale: factor of the cosines; 100 is where CLIP's own training ends.
        template: with {} for the class name.

    Raises:
        ValueError: fewer than one feature or class, or a scale that is not positive and finite.

    Reference: Radford et al. (ICML 2021), section 3.1.2
    """

    trains_nothing = True

    def __init__(self, num_features: int, num_classes: int, scale: float = 100.0, template: str = TEMPLATE) -> None:
        super().__init__(num_features, num_classes, scale, init="text", template=template)
        self.weight.requires_grad_(False)
