"""Samples as (image, label, index), with augmentation that is a function of seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.data.transforms import Augmentation, ModelInput
from semscale_pl.seeding import derive_seed, seeded

Key = int | tuple[int, int]
Sample = tuple[Tensor, Tensor, Tensor]


class IndexedDataset(Dataset[Sample]):
    """Some rows of an image set; sample i is (image, label, i) with i in 0..N-1.

    A key is an index, or (index, epoch): the epoch travels with the index, so that neither prefetching nor persistent
    workers can augment with a wrong one.

    Args:
        source: images and labels.
        rows: (N,) positions in `source`.
        model_input: turns a decoded image into the model's input.
        augmentation: random change of a decoded image, drawing from torch's generator only; None for none.
        seed: of the augmentation.
    """

    def __init__(
        self,
        source: ImageSet,
        rows: Tensor,
        model_input: ModelInput,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.images, self.rows, self.labels = source.images, rows, source.labels[rows]
        self.class_names = source.class_names
        self.model_input, self.augmentation, self.seed = model_input, augmentation, seed
        # Tensors of a small float dataset are normalised once instead of in every batch.
        self._ready = None
        if isinstance(self.images, Tensor) and self.images.is_floating_point() and augmentation is None:
            self._ready = model_input(self.images[rows])

    def leave_out(self, broken: Collection[str], part: str) -> int:
        """Take image files out, number the others anew, and return how many are gone.

        Args:
            broken: their paths.
            part: what this is, for the message.

        Raises:
            DataError: a class of the training part, or a whole part, has no image left.
        """
        paths = getattr(self.images, "paths", None)
        if not broken or paths is None:
            return 0
        kept = torch.tensor([paths[row] not in broken for row in self.rows.tolist()], dtype=torch.bool)
        left = self.labels[kept]
        gone = self.labels.unique()[~torch.isin(self.labels.unique(), left)].tolist()
        if gone and (part == "training" or len(left) == 0):
            names = ", ".join(self.class_names[label] for label in gone[:3])
            raise DataError(
                f"Expected every class to keep a readable image in the {part} part, but none of {len(gone)} "
                f"can be decoded ({names}{', ...' if len(gone) > 3 else ''}). Replace them, or remove the classes."
            )
        self.rows, self.labels = self.rows[kept], left
        return int((~kept).sum())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Sample:
        index, epoch = _index_and_epoch(key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected `key` to be in 0..{len(self) - 1}, but got {index}. The dataset ends there.")
        index = index % len(self)
        image = self.model_input(self._decoded(index, epoch)) if self._ready is None else self._ready[index]
        return image, self.labels[index], torch.tensor(index)

    def __getitems__(self, keys: Sequence[Key]) -> Sample | list[Sample]:
        """Return a whole batch, finished in one go where the images are tensors in memory, else a list of samples."""
        if not isinstance(self.images, Tensor):
            return [self[key] for key in keys]
        indices = torch.tensor([_index_and_epoch(key)[0] for key in keys])
        if self._ready is not None:
            images = self._ready[indices]
        elif self.augmentation is None:
            images = self.model_input(self.images[self.rows[indices]])
        else:
            images = self.model_input(torch.stack([self._decoded(*_index_and_epoch(key)) for key in keys]))
        return images, self.labels[indices], indices

    def _decoded(self, index: int, epoch: int) -> Any:
        image = self.images[int(self.rows[index])]
        if self.augmentation is None:
            return image
        with seeded(derive_seed(self.seed, epoch, index)):
            return self.augmentation(image)


def _index_and_epoch(key: Key) -> tuple[int, int]:
    return key if isinstance(key, tuple) else (key, 0)


def collate(samples: Any) -> Any:
    """Stack a list of samples; a batch that `IndexedDataset` has already stacked passes through.

    Raises:
        DataError: the images of a list differ in shape.
    """
    if isinstance(samples, tuple):
        return samples
    shapes = {tuple(image.shape) for image, _, _ in samples}
    if len(shapes) > 1:
        first, second, *_ = sorted(shapes)
        raise DataError(
            f"Expected the images of a batch to be of one shape, but got {first} and {second}. Set dataset.image_size "
            "and dataset.channels."
        )
    return default_collate(samples)
