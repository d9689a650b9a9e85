"""The sigmoid form of the focal loss: C binary problems a sample, as Class-Balanced Focal uses it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import full_precision
from semscale_pl.options import check


def sigmoid_focal(logits: Tensor, labels: Tensor, gamma: float = 1.0) -> Tensor:
    """Return the sum over the classes of ``-(1 - p_t)^gamma log p_t``, p_t the sigmoid of the logit or of its negative.

    Args:
        logits: (B, C).
        labels: (B,).
        gamma: focusing exponent, not negative; 0 is the sum of binary cross-entropies.

    Returns:
        (B,) nats, summed (not averaged) over the classes.

    Reference: Lin et al. (ICCV 2017), eq. 4; Cui et al. (CVPR 2019), section 4.3.
    """
    values = full_precision(logits)
    sign = torch.full_like(values, -1.0).scatter(1, labels[:, None], 1.0)
    agreement = sign * values
    # (1 - p_t)^gamma as exp(gamma log sigmoid(-x)): no difference of nearly equal numbers, no power of 0.
    return -((gamma * functional.logsigmoid(-agreement)).exp() * functional.logsigmoid(agreement)).sum(dim=1)


class SigmoidFocal(PerSampleLoss):
    """Focal loss on C independent sigmoids, summed over the classes; the base of Class-Balanced Focal.

    The module starts the head's bias at `initial_bias` and spares it the weight decay: at a bias of 0 the C - 1
    negatives of each sample drown its positive. Not the same loss as `Focal`, though both are called focal loss.

    Args:
        gamma: focusing exponent, not negative.

    Example:
        >>> import torch
        >>> SigmoidFocal(gamma=0.0)(torch.zeros(1, 4), torch.tensor([2]))
        tensor([2.7726])

    Reference: Cui et al. (CVPR 2019), section 4.3.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        check(gamma=gamma)
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        return sigmoid_focal(logits, labels, self.gamma)

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the log of each sigmoid (B, C): its softmax is each class's share of the sum of the probabilities.

        The softmax of the raw logits would be surer than the trained sigmoids; the predicted class is the same.
        """
        return functional.logsigmoid(full_precision(logits))

    def initial_bias(self, num_classes: int) -> float:
        """Return ``-log(C - 1)``: every sigmoid then starts at 1/C. It is 0 for fewer than two classes."""
        return -math.log(max(num_classes - 1, 1))
