"""Torchvision's datasets on their real files, where SEMSCALE_DATA leads to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.longtail import index_hash, long_tail_indices
from semscale_pl.data.source import DatasetNotFound
from semscale_pl.data.vision import Vision


def root_with(folder: str) -> str:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not (Path(root) / folder).exists():
        pytest.skip(f"SEMSCALE_DATA does not lead to {folder}")
    return root


def test_cifar100_lt_totals() -> None:
    images = Vision("CIFAR100").load("train", Path(root_with("cifar-100-python")), 0)
    assert images is not None
    assert images.class_names[:2] == ["apple", "aquarium_fish"]
    for factor, total in [(100, 10847), (50, 12608), (10, 19573), (200, 9502)]:
        hashes = set()
        for rule in ("cao_seed0", "seeded", "first"):
            rows = long_tail_indices(images.labels, 100, factor, subset_rule=rule)
            assert len(rows) == total
            counts = torch.bincount(images.labels[rows]).tolist()
            assert counts == [int(500 * factor ** (-i / 99)) for i in range(100)]
            hashes.add(index_hash(rows))
        assert len(hashes) == 3


def test_cifar100_lt_loads() -> None:
    root = root_with("cifar-100-python")
    data = ImbalancedDataModule(Vision("CIFAR100"), root=root, imbalance="exponential", imbalance_factor=100)
    data.setup()
    assert data.train_size == 10847
    assert len(data.test_dataset) == 10_000
    images, labels, _ = next(iter(data.train_dataloader()))
    assert images.shape == (128, 3, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert labels.max() < 100


def test_mnist() -> None:
    data = ImbalancedDataModule(Vision("MNIST"), root=root_with("MNIST/raw"))
    data.setup()
    assert data.class_counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.train_dataset[0][0].shape == (1, 28, 28)


@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"])
def test_missing_data_is_answered_in_one_line(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"download=true") as caught:
        Vision(dataset).prepare(tmp_path, download=False)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "http" in str(caught.value)


def test_unknown_dataset() -> None:
    with pytest.raises(ValueError, match="dataset"):
        Vision("SVHN")
