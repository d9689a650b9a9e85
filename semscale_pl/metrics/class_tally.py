"""How often each class was seen, predicted, and predicted rightly: the counts behind most of the metrics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def count_classes(classes: Tensor, num_classes: int) -> Tensor:
    """Return how often each class occurs among (B,) integers, as (C,) int64.

    Unlike `torch.bincount` it is deterministic on CUDA.
    """
    counts = torch.zeros(num_classes, dtype=torch.int64, device=classes.device)
    return counts.scatter_add_(0, classes.long(), torch.ones_like(classes, dtype=torch.int64))


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return float64 ``part / whole``, NaN where the whole is 0."""
    return torch.where(whole > 0, part.double() / whole.clamp_min(1).double(), torch.nan)


def mean_of_defined(values: Tensor) -> float | None:
    """Return the mean of the values that are not NaN, None where there is none."""
    return plain(values.nanmean())


def plain(value: Tensor | float) -> float | None:
    """Return a Python float, None for NaN and infinity: strict JSON knows neither."""
    number = float(value)
    return number if math.isfinite(number) else None


def plain_list(values: Tensor) -> list[float | None]:
    """Return a list of Python floats, None for NaN and infinity."""
    return [plain(value) for value in values.tolist()]


def check_rows(logits: Tensor, labels: Tensor, num_classes: int) -> None:
    """Refuse logits and labels that do not belong together; looks at shapes only, so it never waits for a GPU.

    Raises:
        ValueError: logits that are not (B, C) or labels that are not (B,).
    """
    if logits.ndim != 2 or logits.shape[1] != num_classes or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"Expected `logits` to be (B, {num_classes}) and `labels` (B,), but got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}. Check the number of classes."
        )


class ClassTally(Metric):
    """Count rows by true class, by predicted class, and right predictions by class; summed over ranks.

    Args:
        num_classes: C, at least 1.
        kwargs: passed on to `torchmetrics.Metric`.

    Raises:
        ValueError: no class.
    """

    full_state_update = False
    correct: Tensor
    seen: Tensor
    predicted: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` to be at least 1, but got {num_classes}.")
        self.num_classes = num_classes
        for name in ("correct", "seen", "predicted"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (B, C).
            labels: (B,) integers in [0, C).
        """
        check_rows(logits, labels, self.num_classes)
        predictions = logits.argmax(dim=1)
        self.seen += count_classes(labels, self.num_classes)
        self.predicted += count_classes(predictions, self.num_classes)
        self.correct += count_classes(labels[predictions == labels], self.num_classes)

    def class_accuracies(self) -> Tensor:
        """Return (C,) float64 accuracies, NaN for a class without rows."""
        return ratio(self.correct, self.seen)

    def compute(self) -> Any:
        """Return the class accuracies as a list, None for a class without rows."""
        return plain_list(self.class_accuracies())
