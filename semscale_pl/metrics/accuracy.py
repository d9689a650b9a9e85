"""Accuracies that do not hide rare classes: of each class, of groups of classes, and the model's bias."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

MANY_ABOVE, FEW_BELOW = 100, 20
EPSILON = 0.01


def shot_groups(class_counts: Sequence[int]) -> dict[str, list[int]]:
    """Group classes by their training images: many > 100, 20 <= medium <= 100, few < 20; a group may be empty.

    Example:
        >>> shot_groups([500, 100, 20, 19])
        {'many': [0], 'medium': [1, 2], 'few': [3]}

    Reference: Liu et al. (CVPR 2019), section 4 (ImageNet-LT).
    """
    labels = range(len(class_counts))
    return {
        "many": [c for c in labels if class_counts[c] > MANY_ABOVE],
        "medium": [c for c in labels if FEW_BELOW <= class_counts[c] <= MANY_ABOVE],
        "few": [c for c in labels if class_counts[c] < FEW_BELOW],
    }


def rank_groups(values: Sequence[float], extra_last: bool = False) -> dict[str, list[int]]:
    """Cut the classes, from the largest value to the smallest and then by label, into thirds.

    Where all values are equal the thirds follow the labels and say nothing about the classes.

    Args:
        values: of each class, such as its training images.
        extra_last: whether what three does not divide goes to the back instead of the front (ten classes: 3, 3 and 4
            instead of 4, 3 and 3).

    Example:
        >>> rank_groups([5, 9, 7, 9])
        {'head': [1, 3], 'middle': [2], 'tail': [0]}
        >>> rank_groups([5, 9, 7, 9], extra_last=True)
        {'head': [1], 'middle': [3], 'tail': [2, 0]}
    """
    order = sorted(range(len(values)), key=lambda label: (-values[label], label))
    size, extra = divmod(len(order), 3)
    sizes = [size + (extra > 0), size + (extra > 1), size]
    first, second, _ = reversed(sizes) if extra_last else sizes
    return {"head": order[:first], "middle": order[first : first + second], "tail": order[first + second :]}


def group_accuracies(accuracies: Tensor, groups: Mapping[str, Sequence[int]]) -> dict[str, float | None]:
    """Return each group's mean of the class accuracies (C,), None for a group without classes or without test rows.

    A class without test rows, whose accuracy is NaN, is left out.
    """
    return {name: mean_of_defined(accuracies[list(members)]) for name, members in groups.items()}


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


class ClassTally(Metric):
    """Count rows by true class, by predicted class, and right predictions by class; summed over ranks.

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
        """Add a batch of logits (B, C) and labels (B,), integers in [0, C)."""
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


class GroupAccuracy(ClassTally):
    """Mean class accuracy of the many-, medium- and few-shot classes and of the thirds by training images.

    Reference: Liu et al. (CVPR 2019), section 4.
    """

    def __init__(self, num_classes: int, class_counts: Sequence[int] | Tensor, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        counts = check_counts(class_counts, num_classes)
        self.groups = {**shot_groups(counts), **rank_groups(counts)}

    def compute(self) -> dict[str, float | None]:
        """Return group name to accuracy in [0, 1], None for an empty group."""
        return group_accuracies(self.class_accuracies(), self.groups)


class ModelBias(ClassTally):
    """Bias of a model towards its best classes, see :func:`model_bias`.

    Reference: Ma et al. (ICLR 2023), appendix H2.
    """

    def __init__(self, num_classes: int, epsilon: float = EPSILON, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.epsilon = epsilon

    def compute(self) -> float | None:
        """Return the bias, None without rows."""
        return model_bias(self.class_accuracies(), self.epsilon)


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


def check_counts(class_counts: Sequence[int] | Tensor, num_classes: int) -> list[int]:
    """Return the training counts as a list of integers.

    Raises:
        ValueError: another number of them than classes, or a negative one.
    """
    counts = [int(count) for count in torch.as_tensor(class_counts).tolist()]
    if len(counts) != num_classes or any(count < 0 for count in counts):
        raise ValueError(
            f"Expected `class_counts` to be {num_classes} counts of at least 0, but got {len(counts)} values "
            f"from {min(counts, default=0)} on. Pass the training images of every class."
        )
    return counts


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
