"""Cross-entropy, focal loss and Balanced Softmax as modules."""

from __future__ import annotations

from torch import Tensor

from semscale_pl.losses import functional
from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.options import check


class CrossEntropy(PerSampleLoss):
    """Softmax cross-entropy.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Example:
        >>> import torch
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
        return functional.cross_entropy(logits, labels, self.label_smoothing)


class Focal(PerSampleLoss):
    """Focal loss on the softmax probability of the true class.

    Args:
        gamma: focusing exponent, not negative; 0 is cross-entropy.

    Example:
        >>> import torch
        >>> Focal(gamma=1.0)(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.0397])

    Reference: Lin et al. (ICCV 2017), eq. 4; Ma et al. (ICLR 2023), section 4.1.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        check(gamma=gamma)
        self.gamma = float(gamma)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) focal losses."""
        return functional.focal(logits, labels, self.gamma)


class BalancedSoftmax(PerSampleLoss):
    """Cross-entropy of the logits plus the log of the class frequencies.

    The raw logits are then those of a balanced world: evaluate on them, without the prior.

    Args:
        tau: exponent of the prior; 1 is Balanced Softmax, 0 is cross-entropy.

    Example:
        >>> import torch
        >>> loss = BalancedSoftmax()
        >>> loss.setup(torch.tensor([3.0, 1.0]))
        >>> loss(torch.zeros(1, 2), torch.tensor([1])).exp()
        tensor([4.])

    Reference: Ren et al. (NeurIPS 2020), section 3.
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        check("loss", tau=tau)
        self.tau = float(tau)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        return functional.balanced_softmax(logits, labels, self.require_frequencies(logits), self.tau)
