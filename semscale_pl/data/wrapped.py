"""Sources made of other things: any torch datasets, and a source cut to equal classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.data.files import upright
from semscale_pl.data.source import DataError, ImageSet, Source


class TorchDatasets:
    """Any torch datasets of (image, label), given as objects (by `_target_` in a config).

    Args:
        train: labels are taken from its `targets` or `labels`, or else by reading every sample once. Its images are PIL
            images, tensors (channels, height, width) or numpy arrays (height, width[, channels]).
        test: likewise.
        val: likewise; None for none.
        class_names: C names; None takes the training set's `classes`, or numbers.
    """

    def __init__(self, train: Any, test: Any, val: Any = None, class_names: Sequence[str] | None = None) -> None:
        self.splits = {"train": train, "val": val, "test": test}
        self.class_names = None if class_names is None else [str(name) for name in class_names]

    def prepare(self, root: Path, download: bool) -> None:
        """Do nothing: the datasets exist already."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split."""
        dataset = self.splits.get(split)
        if dataset is None:
            return None
        return ImageSet(_FirstItems(dataset), labels_of(dataset), self._names())

    def _names(self) -> list[str]:
        if self.class_names is not None:
            return self.class_names
        names = getattr(self.splits["train"], "classes", None)
        if names is not None:
            return [str(name) for name in names]
        largest = max(int(labels_of(dataset).max()) for dataset in self.splits.values() if dataset is not None)
        return [str(number) for number in range(largest + 1)]


class Balanced:
    """Another source, each split cut to its smallest class.

    Args:
        source: any source.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def prepare(self, root: Path, download: bool) -> None:
        """Prepare the other source."""
        self.source.prepare(root, download)

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split with as many images of every class as its smallest has, chosen by `seed`."""
        images = self.source.load(split, root, seed)
        if images is None:
            return None
        if not images.class_counts.all():
            name = images.class_names[int(images.class_counts.argmin())]
            raise DataError(
                f"Expected every class to have images in the {split!r} split, but class {name!r} has none: cut to the "
                "smallest class, nothing would stay. Remove the class."
            )
        rows = balanced_indices(images.labels, len(images.class_names), seed)
        return ImageSet(_Chosen(images.images, rows), images.labels[rows], images.class_names, images.passed_over)


def balanced_indices(labels: Tensor, num_classes: int, seed: int) -> Tensor:
    """Choose as many samples of every class as the smallest class has: their positions (M,), ascending."""
    smallest = int(torch.bincount(labels, minlength=num_classes).min())
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    chosen = [shuffled[labels[shuffled] == label][:smallest] for label in range(num_classes)]
    return torch.cat(chosen).sort().values


def labels_of(dataset: Any) -> Tensor:
    """Return the labels of a torch dataset, (N,) int64: its `targets` or `labels`, or those of samples (image, label).

    One that changes its labels by a `target_transform` is read sample by sample, as the lists hold what it was before.

    Raises:
        DataError: the dataset has no samples, or labels that are no whole numbers.
    """
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"Expected a dataset with a length and samples by number, but got {type(dataset).__name__}. Iterable "
            "datasets cannot be sampled by class."
        )
    if len(dataset) == 0:
        raise DataError(f"Expected {type(dataset).__name__} to have samples, but it is empty. Check its arguments.")
    values = None
    if getattr(dataset, "target_transform", None) is None:
        values = next((getattr(dataset, name) for name in ("targets", "labels") if hasattr(dataset, name)), None)
    if values is None:
        values = [_label(dataset, index) for index in range(len(dataset))]
    return _whole_numbers(values, type(dataset).__name__)


def _label(dataset: Any, index: int) -> Any:
    sample = dataset[index]
    if not isinstance(sample, tuple | list) or len(sample) < 2:
        raise DataError(
            f"Expected the samples of {type(dataset).__name__} to be (image, label), but number {index} is a "
            f"{type(sample).__name__}. Wrap the dataset."
        )
    return sample[1]


def _whole_numbers(values: Any, name: str) -> Tensor:
    try:
        labels = values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    except (TypeError, ValueError):  # words, dictionaries, rows of different lengths
        first = values[0] if isinstance(values, Sequence) and len(values) else values
        raise DataError(
            f"Expected the labels of {name} to be class numbers, but the first is {first!r}. Number the classes from 0 "
            "on, in its target_transform for example."
        ) from None
    whole = labels.to(torch.int64)
    if labels.is_floating_point() and not torch.equal(whole.to(labels), labels):
        wrong = labels[whole.to(labels) != labels].flatten()[0].item()
        raise DataError(f"Expected the labels of {name} to be whole numbers, but got {wrong:g}. Number the classes.")
    return whole


class _FirstItems(Sequence[Any]):
    """The images of (image, label) samples; numpy arrays (height, width[, channels]) as tensors, channels first."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        image = self.dataset[index][0]
        if not isinstance(image, np.ndarray):
            return image
        image = image[..., None] if image.ndim == 2 else image
        return torch.from_numpy(image.transpose(2, 0, 1).copy())


class _Chosen(Sequence[Any]):
    """Some of a sequence's items."""

    def __init__(self, items: Any, rows: Tensor) -> None:
        self.items, self.rows = items, rows
        if getattr(items, "paths", None) is not None:
            self.paths = [items.paths[row] for row in rows.tolist()]

    def turned_upright(self) -> _Chosen:
        """Return the same images, turned as their EXIF tags ask for; DataError where they are no files."""
        return _Chosen(upright(self.items), self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.items[int(self.rows[index])]
