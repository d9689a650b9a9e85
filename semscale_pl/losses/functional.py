"""What the losses share: cross-entropy per sample in float32 at least, and frequencies without zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def full_precision(logits: Tensor) -> Tensor:
    """Return float16 and bfloat16 logits as float32, others unchanged: sums of exponentials need the mantissa."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return ``-log softmax(z)_y`` of each sample (B,) in nats, or its label-smoothed form."""
    return functional.cross_entropy(full_precision(logits), labels, reduction="none", label_smoothing=label_smoothing)


def fill_absent(frequencies: Tensor) -> Tensor:
    """Give the classes with frequency 0 the smallest positive one, so that logarithms and powers stay finite.

    An absent class is treated as one more rarest class: training still pushes its logit down, and it neither wins nor
    loses a post-hoc adjustment against the rarest class that was seen.
    """
    positive = frequencies > 0
    return torch.where(positive, frequencies, torch.where(positive, frequencies, torch.inf).min())
