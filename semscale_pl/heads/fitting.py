"""The training loop of a second stage: features in memory, batches as slices of an index, every draw by its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.heads.recipe import Samples
from semscale_pl.seeding import derive_seed


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum, whose learning rate falls along a cosine, epoch by epoch."""

    lr: float
    epochs: int
    batch_size: int
    momentum: float
    weight_decay: float

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return 0.5 * self.lr * (1.0 + math.cos(math.pi * epoch / self.epochs))


def fit(
    head: nn.Module,
    samples: Samples,
    schedule: Schedule,
    seed: int,
    weights: Tensor | None,
    log_prior: Tensor | None = None,
) -> None:
    """Train a head on features (N, D) with cross-entropy.

    Args:
        weights: (C,) class weights, each sample being drawn once an epoch; None draws N samples with replacement
            instead, all classes alike.
        log_prior: (C,) that the loss adds to the logits, as Balanced Softmax does; -inf for a class without samples.
        seed: with the epoch it gives the order of the samples.
    """
    features, labels = samples
    per_sample = None if weights is None else weights.to(features)[labels]
    optimizer = torch.optim.SGD(
        head.parameters(), lr=schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )
    for epoch in range(schedule.epochs):
        optimizer.param_groups[0]["lr"] = schedule.rate(epoch)
        for rows in epoch_order(labels, seed, epoch, balanced=weights is None).split(schedule.batch_size):
            logits = head(features[rows])
            logits = logits if log_prior is None else logits + log_prior.to(logits)
            losses = F.cross_entropy(logits, labels[rows], reduction="none")
            loss = losses.mean() if per_sample is None else (per_sample[rows] * losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def epoch_order(labels: Tensor, seed: int, epoch: int, balanced: bool) -> Tensor:
    """Return the positions (N,) of an epoch's samples: a permutation, or with replacement and all classes alike."""
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    if not balanced:
        return torch.randperm(len(labels), generator=generator)
    counts = torch.bincount(labels)
    # First a class, then one of its samples, which stand together in the sorted order.
    classes = torch.multinomial((counts > 0).double(), len(labels), replacement=True, generator=generator)
    places = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * counts[classes]).long()
    starts = counts.cumsum(0) - counts
    return torch.sort(labels, stable=True).indices[starts[classes] + places]
