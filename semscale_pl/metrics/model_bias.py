"""How much better a model does on its best class than on its worst."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from semscale_pl.metrics.class_tally import ClassTally

EPSILON = 0.01


def model_bias(accuracies: Tensor, epsilon: float = EPSILON) -> float | None:
    """Return ``max(0, max A / (min A + epsilon) - 1)`` over the classes.

    Args:
        accuracies: (C,) fractions in [0, 1], NaN for a class without rows; such a class is left out.
        epsilon: keeps the quotient finite where a class is never right.

    Returns:
        The bias, 0 for equal accuracies; None without any class.

    Example:
        >>> import torch
        >>> round(model_bias(torch.tensor([0.9, 0.29])), 6)
        2.0

    Reference: Ma et al. (ICLR 2023), appendix H2.
    """
    defined = accuracies[~accuracies.isnan()].double()
    if defined.numel() == 0:
        return None
    return max(0.0, float(defined.max() / (defined.min() + epsilon)) - 1.0)


class ModelBias(ClassTally):
    """Bias of a model towards its best classes.

    Args:
        num_classes: C.
        epsilon: keeps the quotient finite where a class is never right.
        kwargs: passed on to `torchmetrics.Metric`.

    Reference: Ma et al. (ICLR 2023), appendix H2.
    """

    def __init__(self, num_classes: int, epsilon: float = EPSILON, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.epsilon = epsilon

    def compute(self) -> float | None:
        """Return the bias, None without rows."""
        return model_bias(self.class_accuracies(), self.epsilon)
