"""Average precision of each class against the rest, exact at any number of classes and ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from semscale_pl.metrics.accuracy import check_rows, plain_list
from semscale_pl.metrics.scores import Scores


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the area under one class's precision-recall steps; equal scores count as one threshold.

    Args:
        scores: (N,) higher means more likely this class.
        positive: (N,) bool, the row is of this class.

    Returns:
        () float64 in [0, 1]; NaN without a positive row.

    Example:
        >>> import torch
        >>> round(float(average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))), 4)
        0.8333
    """
    thresholds = scores[positive].sort(descending=True).values
    return _area(thresholds, rows_from(thresholds, scores))


def rows_from(thresholds: Tensor, scores: Tensor) -> Tensor:
    """Return how many scores (N,) are at least each of the thresholds (M,), which fall, as (M,) int64."""
    rising = thresholds.flip(0)
    # A score's bin is the number of thresholds that it reaches.
    reached = torch.bincount(torch.searchsorted(rising, scores, right=True), minlength=len(rising) + 1)
    return reached[1:].flip(0).cumsum(0)


def _area(thresholds: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of the precisions at the positive rows, of falling scores (M,) with the rows from each on."""
    if len(thresholds) == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    falling = -thresholds
    # Positive rows of one score are one threshold, reached with the last of them.
    hits = torch.searchsorted(falling, falling, right=True)
    return (hits.double() / rows).mean()


class AveragePrecision(Metric):
    """Exact average precision of each class against the rest, ranked by log-softmax in float64.

    Unlike probabilities in float32, which tie at 1 where a model is sure, log-probabilities tell such rows apart; equal
    ones count as one threshold, as in scikit-learn. Memory is bounded at any number of rows N and classes C: 128 MiB
    and about 50 bytes a row; further logits, 4 bytes a row and class, lie in a file (0.8 GB for 24,426 images of 8,142
    classes). Ranks exchange 24 bytes a row, never their scores.
    """

    full_state_update = False
    true_scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.scores = Scores(num_classes)
        # Rows of all ranks that score at least as high as each row does in its class; None while not exchanged.
        self._rows: Tensor | None = None
        self.add_state("true_scores", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (B, C) and labels (B,)."""
        check_rows(logits, labels, self.num_classes)
        self.true_scores.append(self.scores.add(logits, labels))
        self.labels.append(labels)

    def forward(self, logits: Tensor, labels: Tensor) -> list[float | None]:
        """Add a batch and return what it gives on its own."""
        self.update(logits, labels)
        alone = AveragePrecision(self.num_classes, sync_on_compute=False).to(self.device)
        alone.update(logits, labels)
        return alone.compute()

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.scores.clear()
        self._rows = None

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Exchange true scores and labels between ranks, then how many of its rows each rank has from them on."""
        if not isinstance(self.true_scores, Tensor) and not self.true_scores:
            # A rank without rows joins the exchange with matching shapes.
            self.true_scores.append(torch.zeros(0, dtype=torch.float64, device=self.device))
            self.labels.append(torch.zeros(0, dtype=torch.int64, device=self.device))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)
        if self._is_synced:
            gather = dist_sync_fn or gather_all_tensors
            own = self._own_rows().to(self.device)
            self._rows = torch.stack(gather(own, process_group or self.process_group)).sum(dim=0).cpu()

    def unsync(self, should_unsync: bool = True) -> None:
        """Go back to this rank's own rows."""
        super().unsync(should_unsync)
        if should_unsync:
            self._rows = None

    def compute(self) -> list[float | None]:
        """Return a fraction in [0, 1] for each class; None for a class without rows, and where a score is no number."""
        scores, labels = self._true()
        rows = self._own_rows() if self._rows is None else self._rows
        result = torch.full((self.num_classes,), torch.nan, dtype=torch.float64)
        for label, members in _members(labels) if bool(scores.isfinite().all()) else ():
            order = scores[members].argsort(descending=True, stable=True)
            result[label] = _area(scores[members][order], rows[members][order])
        return plain_list(result)

    def _true(self) -> tuple[Tensor, Tensor]:
        if not isinstance(self.true_scores, Tensor) and not self.true_scores:
            return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        return dim_zero_cat(self.true_scores).cpu(), dim_zero_cat(self.labels).cpu()

    def _own_rows(self) -> Tensor:
        """Return how many of this rank's rows score at least as high in its class as each known row, as (N,) int64."""
        scores, labels = self._true()
        rows, members = torch.zeros(len(scores), dtype=torch.int64), dict(_members(labels))
        for label, column in self.scores.by_class():
            if label in members:
                falling = scores[members[label]].sort(descending=True, stable=True)
                rows[members[label][falling.indices]] = rows_from(falling.values, column)
        return rows


def _members(labels: Tensor) -> list[tuple[int, Tensor]]:
    """Return each class that occurs among (N,) labels with the places of its rows."""
    order = labels.argsort(stable=True)
    classes, counts = labels[order].unique_consecutive(return_counts=True)
    return list(zip(classes.tolist(), order.split(counts.tolist()), strict=True))
