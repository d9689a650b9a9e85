"""Torch datasets as sources, and sources cut to equal classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.wrapped import Balanced, TorchDatasets, balanced_indices

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
IMAGES = torch.arange(9.0).reshape(9, 1, 1, 1).expand(9, 3, 4, 4) / 10


class Named(Dataset[Any]):
    """Says its targets and classes."""

    targets = LABELS.tolist()
    classes = ("x", "y", "z")

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Any:
        return IMAGES[index], self.targets[index]


def test_any_torch_dataset_trains_long_tailed() -> None:
    source = TorchDatasets(Named(), TensorDataset(IMAGES, LABELS))
    data = ImbalancedDataModule(source, imbalance="exponential", imbalance_factor=2, subset_rule="first", batch_size=2)
    data.setup()
    assert data.class_names == ["x", "y", "z"]
    assert data.class_counts.tolist() == [4, 1, 1]
    torch.testing.assert_close(data.train_dataset[5][0], IMAGES[6])
    assert sum(len(batch[1]) for batch in data.train_dataloader()) == 6
    assert len(data.test_dataset) == 9
    unnamed = TorchDatasets(TensorDataset(IMAGES, LABELS), Named()).load("train", Path(), 0)
    assert unnamed is not None
    assert unnamed.class_names == ["0", "1", "2"]


def test_balanced_cuts_to_the_smallest_class() -> None:
    rows = balanced_indices(LABELS, 3, seed=0)
    assert torch.bincount(LABELS[rows]).tolist() == [2, 2, 2]
    assert len({tuple(balanced_indices(LABELS, 3, seed).tolist()) for seed in range(9)}) > 1
    images = Balanced(TorchDatasets(Named(), Named())).load("train", Path(), 3)
    assert images is not None
    assert images.class_counts.tolist() == [2, 2, 2]
    assert all(
        round(float(images.images[i].mean()) * 10) == int(rows) for i, rows in enumerate(balanced_indices(LABELS, 3, 3))
    )
    assert Balanced(TorchDatasets(Named(), Named())).load("val", Path(), 3) is None
