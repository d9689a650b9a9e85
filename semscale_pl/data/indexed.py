"""Samples as (image, label, index), with augmentation that is a function of seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from semscale_pl.data.augmentations import BatchAugmentation, as_pixels
from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.data.transforms import Augmentation, ModelInput
from semscale_pl.seeding import Draws, beside, derive_seed, seeded

Key = int | tuple[int, int]
Sample = tuple[Tensor, Tensor, Tensor]


class IndexedDataset(Dataset[Sample]):
    """Some rows of an image set; sample i is (image, label, i) with i in 0..N-1.

    A key is an index, or (index, epoch): the epoch travels with the index, so that neither prefetching nor persistent
    workers can augment with a wrong one. Images in memory make batches as a whole, on the device where they lie.

    Args:
        source: images and labels.
        rows: (N,) positions in `source`.
        model_input: turns a decoded image into the model's input.
        augmentation: random change of images: of a batch by its draws, or of one decoded image by torch's generator
            only; None for none.
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
        self._begin()

    def _begin(self) -> None:
        # The images in order of their index, where they are kept as one tensor, and their labels beside them.
        self._kept: Tensor | None = None
        self._labels_there = self.labels
        # Tensors of a small float dataset are normalised once instead of in every batch.
        self._normalised = False
        if isinstance(self.images, Tensor) and self.images.is_floating_point() and self.augmentation is None:
            self._kept, self._normalised = self.model_input(self.images[self.rows]), True

    def shown_as(self, model_input: ModelInput) -> IndexedDataset:
        """Return the same rows as the input of another model, or of this one at another size."""
        other = copy(self)
        other.model_input = model_input
        other._begin()
        return other

    @property
    def works_on_batches(self) -> bool:
        """Whether images of one size are changed as a batch."""
        return self.augmentation is None or isinstance(self.augmentation, BatchAugmentation)

    @property
    def in_one_tensor(self) -> bool:
        """Whether the images lie in memory as one tensor, so that a batch is an index."""
        return self._kept is not None or isinstance(self.images, Tensor)

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
        self.rows, self.labels, self._labels_there = self.rows[kept], left, left
        return int((~kept).sum())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Sample:
        index, epoch = _index_and_epoch(key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected `key` to be in 0..{len(self) - 1}, but got {index}. The dataset ends there.")
        index = index % len(self)
        if self.in_one_tensor:
            images, labels, indices = self._batch([(index, epoch)])
            return images[0], labels[0], indices[0]
        return self._alone(index, epoch), self.labels[index], torch.tensor(index)

    def __getitems__(self, keys: Sequence[Key]) -> Sample | list[Sample]:
        """Return a whole batch, finished in one go where the images are tensors in memory, else a list of samples."""
        if not self.in_one_tensor:
            return [self[key] for key in keys]
        return self._batch([_index_and_epoch(key) for key in keys])

    def entering(self, row: int) -> Tensor:
        """Read an image of the source as it enters a batch: of the model's size already where nothing is drawn."""
        pixels = as_pixels(self.images[row])
        return self.model_input.sized(pixels) if self.augmentation is None else pixels

    def keep(self, device: torch.device, images: Tensor | None = None) -> None:
        """Keep the images as one tensor on a device, where batches are made from now on.

        Args:
            device: the CPU keeps no copy of a source that is a tensor itself.
            images: (N, channels, height, width) that :meth:`entering` gave for `rows`, where the source is no tensor.
        """
        if images is None:
            images = self._kept
        if images is None and device.type != "cpu" and isinstance(self.images, Tensor):
            images = self.images[self.rows]
        self._kept = None if images is None else images.to(device)
        self._labels_there = self.labels.to(device)

    def _batch(self, keys: Sequence[tuple[int, int]]) -> Sample:
        indices, epochs = torch.tensor(keys).unbind(1)
        if self._kept is not None:
            there = beside(indices, self._kept)
            images = self._kept.index_select(0, there)
        else:
            assert isinstance(self.images, Tensor)
            there, images = indices, self.images.index_select(0, self.rows[indices])
        images = images if self._normalised else self._finished(images, indices, epochs)
        return images, self._labels_there.index_select(0, there), there

    def _finished(self, images: Tensor, indices: Tensor, epochs: Tensor) -> Tensor:
        if isinstance(self.augmentation, BatchAugmentation):
            images = self.augmentation(images, Draws.of(self.seed, epochs, indices))
        elif self.augmentation is not None:
            keys = zip(images, indices.tolist(), epochs.tolist(), strict=True)
            images = torch.stack([self._changed(image, index, epoch) for image, index, epoch in keys])
        return self.model_input(images)

    def _alone(self, index: int, epoch: int) -> Tensor:
        image = self.images[int(self.rows[index])]
        if self.works_on_batches:
            return self._finished(as_pixels(image)[None], torch.tensor([index]), torch.tensor([epoch]))[0]
        return self.model_input(self._changed(image, index, epoch))

    def _changed(self, image: Any, index: int, epoch: int) -> Any:
        assert self.augmentation is not None
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
