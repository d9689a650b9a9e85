"""What a test run finds out about a classifier on imbalanced data, as one metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from semscale_pl.metrics.accuracy import (
    ClassTally,
    check_counts,
    group_accuracies,
    mean_of_defined,
    model_bias,
    plain,
    plain_list,
    rank_groups,
    ratio,
    shot_groups,
)
from semscale_pl.metrics.average_precision import AveragePrecision
from semscale_pl.metrics.calibration import NUM_BINS, calibration_bins, expected_calibration_error
from semscale_pl.metrics.embedding_report import Searched

# Up to here the report keeps the full confusion matrix (1,000 classes: 8 MB).
LARGE = 1000
GROUPS = ("many", "medium", "few", "head", "middle", "tail")


class PerClass(TypedDict):
    """C values each: fractions in [0, 1], None where undefined, and numbers of rows."""

    accuracy: list[float | None]
    precision: list[float | None]
    average_precision: list[float | None]
    num_samples: list[int]
    num_predicted: list[int]


class Report(Searched):
    """What a test run says of a classifier: fractions in [0, 1] but for the bias, None where undefined.

    ``num_nonfinite`` counts the rows with a logit that is NaN or infinite; where there is one, calibration (``ece``)
    and average precision are None. ``top1`` is over rows, ``balanced_accuracy`` and ``mean_precision`` (0 for a class
    never predicted) are means over the classes with rows. ``confusion_matrix`` has true classes as rows. Where
    embeddings were searched as well, it has the results of :class:`~semscale_pl.metrics.embedding_report.Searched`.
    """

    num_samples: int
    num_nonfinite: int
    top1: float | None
    balanced_accuracy: float | None
    worst_class_accuracy: float | None
    mean_precision: float | None
    mean_average_precision: float | None
    bias: float | None
    ece: float | None
    many: float | None
    medium: float | None
    few: float | None
    head: float | None
    middle: float | None
    tail: float | None
    per_class: PerClass
    confusion_matrix: list[list[int]] | None
    class_names: list[str] | None
    class_counts: list[int] | None


class ClassificationReport(ClassTally):
    """Overall, grouped and per-class results; `compute` returns plain Python values that strict JSON can hold.

    All values are fractions in [0, 1] but the bias; None stands for what is undefined: an empty group, the accuracy of
    a class without test rows, the precision of a class never predicted. Above 1,000 classes the confusion matrix is
    None. Everything is exact at any number of classes, in bounded memory, and the same on any number of ranks.

    Args:
        class_counts: training images of each class; None leaves the groups undefined.
        class_names: names of the classes, handed through to the result.

    Raises:
        ValueError: another number of counts or names than classes.

    Example:
        >>> import torch
        >>> report = ClassificationReport(2, class_counts=[200, 5])
        >>> report.update(torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
        >>> results = report.compute()
        >>> results["balanced_accuracy"], results["few"], results["medium"], results["confusion_matrix"]
        (0.75, 0.5, None, [[1, 0], [1, 1]])

    Reference: Ma et al. (ICLR 2023), section 5 and appendix H2.
    """

    bins: Tensor
    num_nonfinite: Tensor
    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        class_counts: Sequence[int] | Tensor | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, **kwargs)
        self.class_counts = None if class_counts is None else check_counts(class_counts, num_classes)
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        if self.class_names is not None and len(self.class_names) != num_classes:
            raise ValueError(f"Expected `class_names` to be {num_classes} names, but got {len(self.class_names)}.")
        self.is_large = num_classes > LARGE
        self.add_state("bins", torch.zeros(3, NUM_BINS, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_nonfinite", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.average_precision = AveragePrecision(num_classes, **kwargs)
        if not self.is_large:
            self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (B, C) and labels (B,), integers in [0, C)."""
        super().update(logits, labels)
        self.num_nonfinite += (~logits.isfinite()).any(dim=1).sum()
        self.bins += calibration_bins(logits, labels)
        self.average_precision.update(logits, labels)
        if not self.is_large:
            pairs = labels * self.num_classes + logits.argmax(dim=1)
            self.confusion.view(-1).scatter_add_(0, pairs, torch.ones_like(pairs))

    def forward(self, logits: Tensor, labels: Tensor) -> Report:
        """Add a batch and return what it gives on its own."""
        self.update(logits, labels)
        alone = ClassificationReport(self.num_classes, self.class_counts, self.class_names, sync_on_compute=False)
        alone.to(self.device).update(logits, labels)
        return alone.compute()

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.average_precision.reset()

    def compute(self) -> Report:
        """Return the results."""
        accuracies, precisions = self.class_accuracies(), ratio(self.correct, self.predicted)
        precisions_or_zero = torch.where(self.seen > 0, precisions.nan_to_num(0.0), torch.nan)
        average_precisions = self._average_precisions()
        return {
            "num_samples": int(self.seen.sum()),
            "num_nonfinite": int(self.num_nonfinite),
            "top1": plain(ratio(self.correct.sum(), self.seen.sum())),
            "balanced_accuracy": mean_of_defined(accuracies),
            "worst_class_accuracy": plain(accuracies.nan_to_num(torch.inf).min()),
            "mean_precision": mean_of_defined(precisions_or_zero),
            "mean_average_precision": mean_of_defined(average_precisions),
            "bias": model_bias(accuracies),
            "ece": None if self.num_nonfinite > 0 else expected_calibration_error(self.bins),
            **self._groups(accuracies),  # type: ignore[typeddict-item]
            "per_class": {
                "accuracy": plain_list(accuracies),
                "precision": plain_list(precisions),
                "average_precision": plain_list(average_precisions),
                "num_samples": self.seen.tolist(),
                "num_predicted": self.predicted.tolist(),
            },
            "confusion_matrix": None if self.is_large else self.confusion.tolist(),
            "class_names": self.class_names,
            "class_counts": self.class_counts,
        }

    def _groups(self, accuracies: Tensor) -> dict[str, float | None]:
        if self.class_counts is None:
            return dict.fromkeys(GROUPS)
        return group_accuracies(accuracies, {**shot_groups(self.class_counts), **rank_groups(self.class_counts)})

    def _average_precisions(self) -> Tensor:
        # The same on all ranks, which exchange again here.
        if self.num_nonfinite > 0 or self.seen.sum() == 0:
            return torch.full((self.num_classes,), torch.nan, dtype=torch.float64)
        found = self.average_precision.compute()
        return torch.tensor([torch.nan if value is None else value for value in found], dtype=torch.float64)
