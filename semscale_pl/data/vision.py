"""MNIST, Fashion-MNIST and CIFAR through torchvision, held in memory as uint8 tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet

# What must lie below the root, and where it comes from.
_WHERE = {
    "MNIST": ("MNIST/raw/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "FashionMNIST": ("FashionMNIST/raw/", "https://github.com/zalandoresearch/fashion-mnist"),
    "CIFAR10": ("cifar-10-batches-py/", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"),
    "CIFAR100": ("cifar-100-python/", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"),
}


class Vision:
    """One of torchvision's small labelled datasets, with its official training and test split.

    Args:
        dataset: "MNIST", "FashionMNIST", "CIFAR10" or "CIFAR100".
    """

    def __init__(self, dataset: str) -> None:
        if dataset not in _WHERE:
            raise ValueError(f"Expected `dataset` to be one of {', '.join(_WHERE)}, but got {dataset!r}. Choose one.")
        self.dataset = dataset
        self.address = _WHERE[dataset][1]

    def prepare(self, root: Path, download: bool) -> None:
        """Check the files, or fetch them where allowed."""
        for train in (True, False):
            self._open(root, train, download)

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the official "train" or "test" split."""
        if split not in ("train", "test"):
            return None
        data = self._open(root, split == "train", False)
        images = torch.as_tensor(data.data)
        # Torchvision keeps (N, 28, 28) tensors for MNIST and (N, 32, 32, 3) arrays for CIFAR.
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return ImageSet(images, torch.as_tensor(data.targets, dtype=torch.int64), [str(name) for name in data.classes])

    def _open(self, root: Path, train: bool, download: bool) -> Any:
        from torchvision import datasets

        try:
            return getattr(datasets, self.dataset)(root=str(root), train=train, download=download)
        except RuntimeError as error:
            folder, address = _WHERE[self.dataset]
            raise DatasetNotFound(
                f"{self.dataset} was not found: expected {folder} of {address} in {root.resolve()}. "
                "Set dataset.download=true, or put it there (dataset.root or SEMSCALE_DATA)."
            ) from error
        except Exception as error:  # whatever unpacking damaged bytes leads to
            raise DataError(
                f"Expected the files of {self.dataset} in {root.resolve()} to be whole, but they cannot be read: "
                f"{' '.join(str(error).split()) or type(error).__name__}. Remove them and fetch them again."
            ) from error
