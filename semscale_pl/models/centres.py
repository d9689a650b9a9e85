"""The head of SoftTriple: several centres a class, and a similarity to each class that leans to the nearest of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semscale_pl.models.classifiers import Affine, cosines, unit_length
from semscale_pl.options import check

# Under the root of the centres' distances, so that two centres in one place have a gradient; of the authors' code.
_ROUNDING = 1e-5


def relaxed_similarity(similarities: Tensor, gamma: float) -> Tensor:
    """Return ``sum_k softmax_k(s_k / gamma) s_k`` over the last dimension, (..., K) to (...).

    The smaller gamma, the nearer to the largest s_k.

    Reference: Qian et al. (ICCV 2019), eq. 9.
    """
    return ((similarities / gamma).softmax(dim=-1) * similarities).sum(dim=-1)


class CentreClassifier(nn.Module):
    """Map embeddings to their relaxed similarity to the K centres of each class, in [-1, 1].

    The centres' lengths never matter to the similarities. They start uniform in ``[-1, 1] / sqrt(C K)`` as in the
    authors' code: how far a step of Adam turns a centre depends on its length.

    Args:
        num_features: D, width of the embeddings.
        num_classes: C.
        centres: K, centres of each class; the authors advise fewer than a class has samples.
        gamma: how soft the choice among a class's centres is.
        tau: factor of the regularizer, which draws a class's centres together where they are not needed; 0 is none.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> head = CentreClassifier(num_features=4, num_classes=3, centres=2)
        >>> head(head.features(torch.ones(5, 4))).shape
        torch.Size([5, 3])

    Reference: Qian et al. (ICCV 2019), section 3.2; Ma et al. (ICLR 2023), section 4.1.
    """

    has_fixed_features = True  # `features` is a function of its input alone

    def __init__(
        self, num_features: int, num_classes: int, centres: int = 10, gamma: float = 0.1, tau: float = 0.2
    ) -> None:
        super().__init__()
        check("CentreClassifier", num_features=num_features, num_classes=num_classes)
        check("CentreClassifier", centres=centres, gamma=gamma, tau=tau)
        self.num_features, self.num_classes, self.centres = num_features, num_classes, centres
        self.gamma, self.tau = float(gamma), float(tau)
        self.weight = nn.Parameter(torch.empty(num_classes, centres, num_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again at random."""
        bound = (self.num_classes * self.centres) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def features(self, x: Tensor) -> Tensor:
        """Scale embeddings (B, D) to unit length, row by row; a zero row stays zero."""
        return unit_length(x)

    def forward(self, features: Tensor) -> Tensor:
        """Map unit vectors (B, D), the output of ``features``, to similarities (B, C)."""
        every = cosines(features, self.weight.flatten(0, 1))
        return relaxed_similarity(every.unflatten(1, self.weight.shape[:2]), self.gamma)

    def penalty(self) -> Tensor | None:
        """Return tau times half the mean distance of two centres of a class, (); None without such pairs.

        Reference: Qian et al. (ICCV 2019), eq. 12.
        """
        if self.tau == 0.0 or self.centres == 1:
            return None
        centres = unit_length(self.weight)
        first, second = torch.triu_indices(self.centres, self.centres, offset=1)
        cosines = (centres @ centres.mT)[:, first, second]
        # A difference of nearly equal numbers may round to less than 0.
        distances = (2.0 + _ROUNDING - 2.0 * cosines).clamp_min(torch.finfo(cosines.dtype).eps).sqrt()
        return 0.5 * self.tau * distances.mean()

    @torch.no_grad()
    def affine(self) -> Affine:
        """Return the head whose class vectors are the mean directions of each class's centres; exact for one centre."""
        return Affine(unit_length(unit_length(self.weight).mean(dim=1)), None, True)
