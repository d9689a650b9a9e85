"""How far the features of the training images move from epoch to epoch: whether a pool of older ones can be trusted."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semscale_pl.callbacks.training_data import check_training_pass, training_features
from semscale_pl.files import csv_text, write_text
from semscale_pl.geometry import pool_features, semantic_scales
from semscale_pl.options import check

NAME = "drift.csv"
COLUMNS = ("epoch", "learning_rate", "mean", "median", "p90", "to_norm", "scale_change")


class FeatureDrift(pl.Callback):
    """After every epoch, pass the training images through the model in evaluation mode and compare with the last time.

    The drift of a sample is the distance that its feature has moved, in units of the spread of all features: the root
    of their mean squared distance from their mean, one epoch before. ``drift.csv`` has a row for each epoch: the
    learning rate, mean, median and 90th percentile of the drift, the mean distance over the feature's own length
    (``to_norm``), and the mean relative change of the classes' S' (``scale_change``), which is how wrong the scales
    would be if every feature were an epoch old. The first epoch has nothing to compare with.

    Args:
        dirpath: the run folder.
        num_features: features are pooled to so many, as for the pool.

    Raises:
        ValueError: ``num_features`` is below 1.

    Reference: Ma et al. (ICLR 2023), section 4.2, slow drift.
    """

    def __init__(self, dirpath: str | os.PathLike[str], num_features: int = 64) -> None:
        check(num_features=num_features)
        self.path, self.num_features = Path(dirpath) / NAME, num_features
        self.rows: list[list[float]] = []
        self._before: Tensor | None = None
        self._rate = math.nan

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a run without a second way to its training images."""
        if stage == "fit":
            check_training_pass(trainer, "FeatureDrift")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the learning rate; a schedule may have moved on by the end of the epoch."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure and write."""
        features, labels = training_features(trainer, pl_module)
        features = pool_features(features.float(), self.num_features).cpu()
        self.rows.append([float(trainer.current_epoch), self._rate, *self._compare(features, labels.cpu())])
        self._before = features
        if trainer.is_global_zero:
            write_text(self.path, csv_text([COLUMNS, *([int(row[0]), *row[1:]] for row in self.rows)]))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the latest features, so that a resumed run compares as an unbroken one would."""
        state: dict[str, Any] = {"rows": [list(row) for row in self.rows]}
        return state if self._before is None else {**state, "before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""
        self.rows = [list(row) for row in state_dict["rows"]]
        self._before = state_dict.get("before")

    def _compare(self, features: Tensor, labels: Tensor) -> list[float]:
        if self._before is None:
            return [math.nan] * (len(COLUMNS) - 2)
        moved = drift(self._before, features)
        lengths = features.double().norm(dim=1)
        to_norm = ((features.double() - self._before.double()).norm(dim=1) / lengths)[lengths > 0]
        classes = int(labels.max()) + 1
        old, new = (semantic_scales(part, labels, classes) for part in (self._before, features))
        change = ((new - old).abs() / new)[new > 0]
        found = (moved.mean(), moved.median(), moved.quantile(0.9), to_norm.mean(), change.mean())
        return [float(value) for value in found]


def drift(before: Tensor, after: Tensor) -> Tensor:
    """Return how far each of (N, d) features has moved, in units of the earlier features' spread.

    Returns:
        (N,) float64; NaN where the earlier features are all equal.

    Example:
        >>> drift(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-1.0], [1.5]])).tolist()
        [0.0, 0.5]
    """
    earlier = before.double()
    spread = (earlier - earlier.mean(0)).square().sum(1).mean().sqrt()
    return (after.double() - earlier).norm(dim=1) / torch.where(spread > 0, spread, math.nan)
