"""Accuracy of groups of classes: many, medium and few shots; head, middle and tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from semscale_pl.metrics.class_tally import ClassTally, mean_of_defined

MANY_ABOVE = 100
FEW_BELOW = 20


def shot_groups(class_counts: Sequence[int]) -> dict[str, list[int]]:
    """Group classes by their training images: many > 100, 20 <= medium <= 100, few < 20.

    Args:
        class_counts: training images of each class.

    Returns:
        Group name to class labels, possibly none.

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


def rank_groups(class_counts: Sequence[int]) -> dict[str, list[int]]:
    """Cut the classes, ordered by falling count and then by label, into thirds; what is left over goes to the front.

    Ten classes give 4, 3 and 3. Where all counts are equal the thirds follow the labels and say nothing about shots.

    Args:
        class_counts: training images of each class.

    Returns:
        "head", "middle" and "tail" to class labels.

    Example:
        >>> rank_groups([5, 9, 7, 9])
        {'head': [1, 3], 'middle': [2], 'tail': [0]}
    """
    order = sorted(range(len(class_counts)), key=lambda c: (-class_counts[c], c))
    size, extra = divmod(len(order), 3)
    first = size + (extra > 0)
    second = first + size + (extra > 1)
    return {"head": order[:first], "middle": order[first:second], "tail": order[second:]}


def group_accuracies(accuracies: Tensor, groups: Mapping[str, Sequence[int]]) -> dict[str, float | None]:
    """Return each group's mean of class accuracies.

    Args:
        accuracies: (C,) NaN for a class without test rows; such a class is left out.
        groups: group name to class labels.

    Returns:
        Group name to a fraction in [0, 1], None for a group without classes or without test rows.
    """
    return {name: mean_of_defined(accuracies[list(members)]) for name, members in groups.items()}


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


class GroupAccuracy(ClassTally):
    """Mean class accuracy of the many-, medium- and few-shot classes and of the thirds by count.

    Args:
        num_classes: C.
        class_counts: training images of each class.
        kwargs: passed on to `torchmetrics.Metric`.

    Reference: Liu et al. (CVPR 2019), section 4.
    """

    def __init__(self, num_classes: int, class_counts: Sequence[int] | Tensor, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        counts = check_counts(class_counts, num_classes)
        self.groups = {**shot_groups(counts), **rank_groups(counts)}

    def compute(self) -> dict[str, float | None]:
        """Return group name to accuracy in [0, 1], None for an empty group."""
        return group_accuracies(self.class_accuracies(), self.groups)
