"""Small pools and batches, and a naive pool to compare them with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semscale_pl.pool import FeaturePool

CAPACITY, DIM, NUM_CLASSES = 12, 3, 4
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MODES = ["indexed", "fifo"]


class NaivePool:
    """Row by row, in plain Python: a dictionary of slots, or a list that forgets its oldest rows."""

    def __init__(self, mode: str) -> None:
        self.mode, self.slots, self.queue = mode, {}, []

    def push(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        for row, label, index in zip(features, labels.tolist(), indices.tolist(), strict=True):
            self.slots[index] = (row, label)
            self.queue = [*self.queue, (row, label)][-CAPACITY:]

    def contents(self) -> tuple[Tensor, Tensor]:
        rows = [self.slots[index] for index in sorted(self.slots)] if self.mode == "indexed" else self.queue
        features = torch.stack([row for row, _ in rows]) if rows else torch.zeros(0, DIM)
        return features, torch.tensor([label for _, label in rows], dtype=torch.int64)


def naive_bits(features: Tensor, labels: Tensor, num_classes: int = NUM_CLASSES) -> Tensor:
    """slogdet class by class in numpy float64."""
    rows, bits = features.double().numpy(), []
    for label in range(num_classes):
        part = rows[labels.numpy() == label]
        if len(part) == 0:
            bits.append(np.nan)
            continue
        centred = part - part.mean(0)
        dim = rows.shape[1]
        bits.append(0.5 * np.linalg.slogdet(np.eye(dim) + dim / len(part) * centred.T @ centred)[1] / np.log(2.0))
    return torch.tensor(bits, dtype=torch.float64)


def batch(
    generator: torch.Generator, rows: int, capacity: int = CAPACITY, dim: int = DIM
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random features, labels and indices."""
    features = 3.0 * torch.randn(rows, dim, generator=generator) + 10.0
    labels = torch.randint(NUM_CLASSES, (rows,), generator=generator)
    return features, labels, torch.randint(capacity, (rows,), generator=generator)


def make_pool(mode: str = "indexed", **options: object) -> FeaturePool:
    """Return a pool of twelve slots."""
    return FeaturePool(CAPACITY, DIM, NUM_CLASSES, mode=mode, **options)


def tensors_of(first: dict[str, object], second: dict[str, object]) -> list[tuple[Tensor, Tensor]]:
    """Return the tensors of two states side by side."""
    return [(first[name], second[name]) for name in first if isinstance(first[name], Tensor)]
