"""Logit adjustment: the class prior added to the logits in the loss, or taken off them at evaluation."""

from __future__ import annotations

from torch import Tensor

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.losses.functional import cross_entropy, fill_absent, full_precision
from semscale_pl.options import check


def posthoc_logits(logits: Tensor, frequencies: Tensor, tau: float = 1.0) -> Tensor:
    """Take ``tau log q`` off the logits (B, C) of a model trained with plain cross-entropy.

    Args:
        logits: (B, C).
        frequencies: (C,) counts or probabilities q of training: a constant factor changes nothing in a softmax. A class
            with 0 counts as a rarest one.
        tau: strength; 0 leaves the logits as they are.

    Example:
        >>> import torch
        >>> posthoc_logits(torch.tensor([[1.0, 0.5]]), torch.tensor([0.9, 0.1])).argmax().item()
        1

    Reference: Menon et al. (ICLR 2021), eq. 9.
    """
    values = full_precision(logits)
    return values - (tau * fill_absent(frequencies).log()).to(values)


class LogitAdjusted(PerSampleLoss):
    """Logit-adjusted cross-entropy, or plain cross-entropy whose logits are adjusted at evaluation alone.

    In the loss ``tau log q`` is added to the logits; with tau = 1, it is Balanced Softmax. Both forms aim at the
    balanced error; they are equal in theory and differ by up to a point in practice.

    Args:
        tau: strength of the prior; 0 is cross-entropy.
        posthoc: train plain cross-entropy and let `evaluation_logits` take the prior off.

    Example:
        >>> import torch
        >>> loss = LogitAdjusted(tau=2.0)
        >>> loss.setup(torch.tensor([3.0, 1.0]))
        >>> loss(torch.zeros(1, 2), torch.tensor([1])).exp()
        tensor([10.])

    Reference: Menon et al. (ICLR 2021), eq. 9 (post-hoc) and eq. 10 (loss).
    """

    def __init__(self, tau: float = 1.0, posthoc: bool = False) -> None:
        super().__init__()
        check("loss", tau=tau, posthoc=posthoc)
        self.tau, self.posthoc = float(tau), posthoc

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (B,) losses."""
        frequencies = self.require_frequencies(logits)
        return cross_entropy(logits if self.posthoc else posthoc_logits(logits, frequencies, -self.tau), labels)

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the logits (B, C), without the prior where it was not in the loss."""
        return posthoc_logits(logits, self.require_frequencies(logits), self.tau) if self.posthoc else logits


class BalancedSoftmax(LogitAdjusted):
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
        super().__init__(tau)
