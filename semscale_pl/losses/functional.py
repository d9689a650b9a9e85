"""Classification losses as pure functions: (B, C), (B,) to (B,); half precision is computed in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def full_precision(logits: Tensor) -> Tensor:
    """Return float16 and bfloat16 logits as float32, others unchanged: sums of exponentials need the mantissa."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def fill_absent(frequencies: Tensor) -> Tensor:
    """Give the classes with frequency 0 the smallest positive one, so that logarithms and powers stay finite.

    An absent class is treated as one more rarest class: training still pushes its logit down, and it neither wins nor
    loses a post-hoc adjustment against the rarest class that was seen.

    Args:
        frequencies: (C,) not negative, at least one positive.

    Returns:
        (C,) positive.
    """
    positive = frequencies > 0
    smallest = torch.where(positive, frequencies, torch.inf).min()
    return torch.where(positive, frequencies, smallest)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return ``-log softmax(z)_y`` of each sample, or its label-smoothed form.

    Args:
        logits: (B, C).
        labels: (B,).
        label_smoothing: share of the target spread evenly over all C classes, in [0, 1].

    Returns:
        (B,) nats.
    """
    return functional.cross_entropy(full_precision(logits), labels, reduction="none", label_smoothing=label_smoothing)


def focal(logits: Tensor, labels: Tensor, gamma: float = 1.0) -> Tensor:
    """Return ``-(1 - p_y)^gamma log p_y`` with the softmax probability p; the factor is differentiated, too.

    Class weights must multiply the result: applied inside, before p is recovered from the loss, they falsify p.

    Args:
        logits: (B, C).
        labels: (B,).
        gamma: focusing exponent, not negative; 0 is cross-entropy.

    Returns:
        (B,) nats.

    Reference: Lin et al. (ICCV 2017), eq. 4 (without alpha), in the softmax form of Ma et al. (ICLR 2023), section 4.1.
    """
    entropy = cross_entropy(logits, labels)
    # Below the clamp the factor is a constant: its derivative is infinite at p = 1 for an exponent under 1.
    wrongness = (-torch.expm1(-entropy)).clamp_min(torch.finfo(entropy.dtype).tiny)
    return wrongness.pow(gamma) * entropy


def adjust_logits(logits: Tensor, frequencies: Tensor, tau: float = 1.0) -> Tensor:
    """Add ``tau log q`` to the logits; with a negative tau it is the post-hoc adjustment at evaluation.

    Args:
        logits: (B, C).
        frequencies: (C,) probabilities or counts: a constant factor changes nothing in a softmax.
        tau: strength; 0 leaves the logits as they are.

    Returns:
        (B, C).

    Reference: Menon et al. (ICLR 2021), eq. 9 (post-hoc, minus) and eq. 10 (in the loss, plus).
    """
    values = full_precision(logits)
    return values + (tau * fill_absent(frequencies).log()).to(values)


def balanced_softmax(logits: Tensor, labels: Tensor, frequencies: Tensor, tau: float = 1.0) -> Tensor:
    """Return the cross-entropy of ``z + tau log q``.

    Args:
        logits: (B, C).
        labels: (B,).
        frequencies: (C,) probabilities or counts.
        tau: exponent of the prior; 1 is Balanced Softmax, 0 is cross-entropy.

    Returns:
        (B,) nats.

    Reference: Ren et al. (NeurIPS 2020), Balanced Softmax, section 3; Menon et al. (ICLR 2021), eq. 10.
    """
    return cross_entropy(adjust_logits(logits, frequencies, tau), labels)
