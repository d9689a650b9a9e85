"""Benchmark sets: digits, torchvision's on their real files where SEMSCALE_DATA leads to them, and superclasses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.longtail import index_hash, long_tail_indices
from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.data.vision import Digits, Vision, cifar100_superclasses


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


def test_split_by_class() -> None:
    train, test = (Digits().load(split, Path(), 4) for split in ("train", "test"))
    assert train is not None
    assert test is not None
    sizes = torch.bincount(torch.from_numpy(load_digits().target))
    assert train.class_counts.tolist() == [round(0.6 * size) for size in sizes.tolist()]
    assert torch.equal(train.class_counts + test.class_counts, sizes)
    rows = {tuple(image.flatten().tolist()) for image in torch.cat([train.images, test.images])}  # type: ignore[list-item]
    assert rows == {tuple((image / 16).flatten().tolist()) for image in load_digits().images}
    assert train.images.shape[1:] == (1, 8, 8)  # type: ignore[union-attr]
    assert (float(train.images.min()), float(train.images.max())) == (0, 1)  # type: ignore[union-attr]


def test_seed_and_missing_split() -> None:
    first, second = (Digits().load("train", Path(), seed) for seed in (0, 1))
    assert first is not None
    assert second is not None
    assert not torch.equal(first.images, second.images)  # type: ignore[arg-type]
    assert Digits().load("val", Path(), 0) is None
    with pytest.raises(ValueError, match="train_fraction"):
        Digits(1.0)


def write(root: Path, meta: Any, test: Any) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(exist_ok=True)
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    (folder / "test").write_bytes(pickle.dumps(test, protocol=2))


META = {"coarse_label_names": ["animals", "things"], "fine_label_names": ["cat", "cup", "dog"]}


def test_reads_names_and_parents(tmp_path: Path) -> None:
    write(tmp_path, META, {"fine_labels": [2, 0, 1, 0], "coarse_labels": [0, 0, 1, 0], "data": [[0, 1]]})
    parents, names = cifar100_superclasses(tmp_path)
    assert (parents.tolist(), names) == ([0, 1, 0], ["animals", "things"])


@pytest.mark.parametrize(
    ("meta", "test", "match"),
    [
        (META, {"fine_labels": [0, 0], "coarse_labels": [0, 1]}, "one superclass"),
        (META, {"fine_labels": [0, 2], "coarse_labels": [0, 1]}, "one superclass"),
        (META, {"fine_labels": [0]}, "labels"),
        ({}, {"fine_labels": [0], "coarse_labels": [0]}, "labels"),
        ([], {}, "dictionary"),
        (os.system, {}, "no place"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(meta: Any, test: Any, match: str, tmp_path: Path) -> None:
    write(tmp_path, meta, test)
    with pytest.raises(DataError, match=match) as caught:
        cifar100_superclasses(tmp_path)
    assert "\n" not in str(caught.value)


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match="CIFAR-100"):
        cifar100_superclasses(tmp_path)


def test_real_files() -> None:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not (Path(root) / "cifar-100-python" / "meta").is_file():
        pytest.skip("SEMSCALE_DATA does not lead to CIFAR-100")
    parents, names = cifar100_superclasses(Path(root))
    assert np.bincount(parents.numpy()).tolist() == [5] * 20
    assert names[int(parents[0])] == "fruit_and_vegetables"  # apple
