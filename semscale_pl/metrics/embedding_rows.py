"""Labelled embeddings of a whole evaluation and of all ranks, for metrics that compare rows with rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

# Rows whose lengths are taken at once: the copy in float64 stays small.
_ROWS = 2**14


class NoDirectionError(ValueError):
    """Embeddings that cannot be compared by their angles."""


class EmbeddingRows(Metric):
    """Keep embeddings (B, D) and labels (B,) as they come, in float32; ranks exchange all of them before `compute`.

    Args:
        class_names: names of the classes for messages; None says their numbers.
    """

    full_state_update = False
    embeddings: list[Tensor]
    labels: list[Tensor]

    def __init__(self, class_names: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_names = class_names
        self.add_state("embeddings", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add a batch of embeddings (B, D), of any length but 0, and labels (B,), integers of at least 0.

        Raises:
            ValueError: they do not belong together, or are not as wide as those before.
        """
        self._keep("embeddings", "labels", embeddings, labels)

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch: on its own it has too few neighbours to be judged."""
        self.update(*args, **kwargs)

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Exchange the rows of all ranks; one without rows joins in with matching shapes."""
        for name in self._defaults:
            kept = getattr(self, name)
            if isinstance(kept, list) and not kept:
                # Embeddings lie flat: such a rank does not know how wide they are.
                dtype = torch.int64 if name.endswith("labels") else torch.float32
                kept.append(torch.zeros(0, dtype=dtype, device=self.device))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _keep(self, rows_name: str, labels_name: str, embeddings: Tensor, labels: Tensor) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] == 0 or not embeddings.is_floating_point():
            raise ValueError(
                f"Expected embeddings of shape (rows, features) in floating point, but got {embeddings.dtype} of shape "
                f"{tuple(embeddings.shape)}."
            )
        if labels.shape != embeddings.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"Expected an integer label for each of {len(embeddings)} embeddings, but got {labels.dtype} of shape "
                f"{tuple(labels.shape)}."
            )
        getattr(self, rows_name).append(embeddings.detach().to(torch.float32).reshape(-1))
        getattr(self, labels_name).append(labels.detach().to(torch.int64))

    def _rows(self, rows_name: str = "embeddings", labels_name: str = "labels") -> tuple[Tensor, Tensor]:
        """Return checked embeddings (N, D) in float32 and labels (N,) int64, where float64 can be computed.

        Raises:
            ValueError: rows of different widths, NaN or infinity, or rows of length 0, which have no direction.
        """
        kept, kept_labels = getattr(self, rows_name), getattr(self, labels_name)
        if isinstance(kept, list) and not kept:
            return torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64)
        flat, labels = dim_zero_cat(kept), dim_zero_cat(kept_labels)
        if len(labels) == 0:
            return torch.zeros(0, 1), labels
        if len(flat) % len(labels):
            raise ValueError("Expected embeddings of one width, but got batches of several. Use those of one model.")
        rows = flat.view(len(labels), -1)
        if rows.device.type == "mps":  # has no float64
            rows, labels = rows.cpu(), labels.cpu()
        check_directions(rows, rows_name)
        return rows, labels


def check_directions(rows: Tensor, name: str = "embeddings") -> None:
    """Refuse embeddings (N, D) without a direction.

    Raises:
        NoDirectionError: a value is NaN or infinite, or a row is zero.
    """
    lengths = row_lengths(rows)
    broken, zero = int((~lengths.isfinite()).sum()), int((lengths == 0).sum())
    if broken:
        raise NoDirectionError(
            f"Expected `{name}` to be finite, but {broken:,} of {len(rows):,} rows hold NaN or infinity. Find out "
            "where training diverged."
        )
    if zero:
        raise NoDirectionError(
            f"Expected `{name}` to have a direction, but {zero:,} of {len(rows):,} rows are zero. The model has "
            "collapsed, or they are rows that nothing was written to."
        )


def row_lengths(rows: Tensor) -> Tensor:
    """Return the Euclidean lengths (N,) of rows (N, D), in float64."""
    if len(rows) == 0:
        return torch.zeros(0, dtype=torch.float64, device=rows.device)
    return torch.cat([part.double().norm(dim=1) for part in rows.split(_ROWS)])


def named_class(label: int, class_names: list[str] | None) -> str:
    """Return how a message calls a class."""
    return f"class {label}" if class_names is None else f"class {class_names[label]!r}"
