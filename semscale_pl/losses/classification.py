"""Cross-entropy and the focal loss, over a softmax and over sigmoids."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import cross_entropy, full_precision
from semscale_pl.options import check


class CrossEntropy(PerSampleLoss):
    """Softmax cross-entropy.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Example:
        >>> CrossEntropy()(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])

    Reference: Szegedy et al. (CVPR 2016), section 7, for label smoothing.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check(label_smoothing=label_smoothing)
        self.label_smoothing = float(label_smoothing)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) cross-entropies."""
        return cross_entropy(logits, labels, self.label_smoothing)


class Focal(PerSampleLoss):
    """Focal loss ``-(1 - p_y)^gamma log p_y`` on the softmax probability p; the factor is differentiated, too.

    Class weights must multiply the result: applied inside, before p is recovered from the loss, they falsify p.

    Args:
        gamma: focusing exponent, not negative; 0 is cross-entropy.

    Example:
        >>> Focal(gamma=1.0)(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.0397])

    Reference: Lin et al. (ICCV 2017), eq. 4 (without alpha), in the softmax form of Ma et al. (ICLR 2023), section 4.1.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        check(gamma=gamma)
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) focal losses."""
        entropy = cross_entropy(logits, labels)
        # Below the clamp the factor is a constant: its derivative is infinite at p = 1 for an exponent under 1.
        wrongness = (-torch.expm1(-entropy)).clamp_min(torch.finfo(entropy.dtype).tiny)
        return wrongness.pow(self.gamma) * entropy


class SigmoidFocal(PerSampleLoss):
    """Focal loss on C independent sigmoids, summed (not averaged) over the classes; the base of Class-Balanced Focal.

    A class adds ``-(1 - p)^gamma log p``, p being the sigmoid of its logit, or of the negative one where it is not the
    sample's. The module starts the head's bias at `initial_bias` and spares it the weight decay: at a bias of 0 the
    C - 1 negatives of each sample drown its positive. Not the same loss as `Focal`, though both are called focal loss.

    Args:
        gamma: focusing exponent, not negative; 0 is the sum of binary cross-entropies.

    Example:
        >>> SigmoidFocal(gamma=0.0)(torch.zeros(1, 4), torch.tensor([2]))
        tensor([2.7726])

    Reference: Lin et al. (ICCV 2017), eq. 4; Cui et al. (CVPR 2019), section 4.3.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        check(gamma=gamma)
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        values = full_precision(logits)
        agreement = values * torch.full_like(values, -1.0).scatter(1, labels[:, None], 1.0)
        # (1 - p)^gamma as exp(gamma log sigmoid(-x)): no difference of nearly equal numbers, no power of 0.
        return -((self.gamma * logsigmoid(-agreement)).exp() * logsigmoid(agreement)).sum(dim=1)

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the log of each sigmoid (B, C): its softmax is each class's share of the sum of the probabilities.

        The softmax of the raw logits would be surer than the trained sigmoids; the predicted class is the same.
        """
        return logsigmoid(full_precision(logits))

    def initial_bias(self, num_classes: int) -> float:
        """Return ``-log(C - 1)``: every sigmoid then starts at 1/C. It is 0 for fewer than two classes."""
        return -math.log(max(num_classes - 1, 1))
