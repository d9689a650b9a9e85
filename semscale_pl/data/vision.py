"""Benchmark sets held in memory: MNIST, Fashion-MNIST and CIFAR through torchvision, and scikit-learn's digits."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.options import check

# What must lie below the root, and where it comes from.
_WHERE = {
    "MNIST": ("MNIST/raw/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "FashionMNIST": ("FashionMNIST/raw/", "https://github.com/zalandoresearch/fashion-mnist"),
    "CIFAR10": ("cifar-10-batches-py/", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"),
    "CIFAR100": ("cifar-100-python/", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"),
}
# All that the official files hold beside lists, strings and numbers.
_ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class Vision:
    """One of torchvision's small labelled datasets, with its official training and test split.

    Args:
        dataset: "MNIST", "FashionMNIST", "CIFAR10" or "CIFAR100".
    """

    def __init__(self, dataset: str) -> None:
        if dataset not in _WHERE:
            raise ValueError(f"Expected `dataset` to be one of {', '.join(_WHERE)}, but got {dataset!r}. Choose one.")
        self.dataset, self.address = dataset, _WHERE[dataset][1]

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


class Digits:
    """Ten digits, split by class into a training and a test part.

    Args:
        train_fraction: share of each class that goes to training, rounded to the nearest image.
    """

    def __init__(self, train_fraction: float = 0.6) -> None:
        check(train_fraction=train_fraction)
        self.train_fraction = train_fraction

    def prepare(self, root: Path, download: bool) -> None:
        """Do nothing: the images come with scikit-learn."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the "train" or "test" part, cut by `seed`."""
        if split not in ("train", "test"):
            return None
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        return ImageSet(images[rows], labels[rows], [str(digit) for digit in range(10)])


def cifar100_superclasses(root: Path) -> tuple[Tensor, list[str]]:
    """Read which superclass each class belongs to: the superclass of each class (100,), and the 20 names.

    Raises:
        DatasetNotFound: the files are not there.
        DataError: they are damaged, or the classes do not make a hierarchy.
    """
    folder = root / "cifar-100-python"
    names = _read(folder / "meta").get("coarse_label_names")
    labels = _read(folder / "test")
    fine, coarse = labels.get("fine_labels"), labels.get("coarse_labels")
    if not names or not fine or not coarse or len(fine) != len(coarse):
        raise DataError(f"Expected fine and coarse labels in {folder}, but found none. Fetch CIFAR-100 again.")
    pairs = sorted(set(zip(fine, coarse, strict=True)))
    if [one for one, _ in pairs] != list(range(len(pairs))):
        raise DataError(f"Expected one superclass for each class in {folder}, but it is not so. Fetch CIFAR-100 again.")
    return torch.tensor([parent for _, parent in pairs]), [str(name) for name in names]


class _LabelReader(pickle.Unpickler):
    """Read plain data and arrays only; nothing else that a pickle may name is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of labels")
        return super().find_class(module, name)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = _LabelReader(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except OSError:
        raise DatasetNotFound(
            f"CIFAR-100 was not found: expected {file.resolve()}. Fetch it with `semscale train dataset=cifar100 "
            "dataset.download=true`, or set SEMSCALE_DATA."
        ) from None
    except Exception as error:  # whatever unpacking damaged bytes leads to
        raise DataError(f"Expected {file} to be a file of CIFAR-100, but cannot read it: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"Expected {file} to hold a dictionary, but got {type(content).__name__}.")
    return content
