"""Labelled vectors as a dataset: a batch is a slice of a tensor in memory, or of a file that is mapped into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semscale_pl.data.indexed import IndexedDataset, Key, Sample
from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.features.arrays import MappedRows
from semscale_pl.seeding import Draws, beside

# Rows that are read at a time where all are.
_ROWS_AT_ONCE = 2**14


class BatchKeys(NamedTuple):
    """Positions (B,) in a dataset and the epoch that they are drawn for: what a sampler of vectors yields."""

    indices: Tensor
    epoch: int = 0


@dataclass(frozen=True)
class VectorSet(ImageSet):
    """Labelled vectors of one split.

    Attributes:
        images: (N, D) float in memory, or rows mapped from a file.
        views: the same samples in other versions, such as the features of augmented copies; each of the same shape.
        file: which the vectors are from, for messages.
    """

    images: Any
    views: tuple[Any, ...] = ()
    file: str = "the features"

    @property
    def num_features(self) -> int:
        """Width D."""
        return int(self.images.shape[1])

    @property
    def versions(self) -> tuple[Any, ...]:
        """The vectors, then their views."""
        return (self.images, *self.views)

    def check_samples(self) -> None:
        """Raise DataError for vectors that are no finite numbers, or views that are not of their samples."""
        for number, version in enumerate(self.versions):
            if tuple(version.shape) != tuple(self.images.shape):
                raise DataError(
                    f"Expected view {number} to be of the shape {tuple(self.images.shape)} of its samples, but got "
                    f"{tuple(version.shape)}. Embed the images again."
                )
            if isinstance(version, Tensor):
                _check_finite(version, 0, self.file)


class SinglePrecision:
    """The model's input of vectors, in whatever precision they are stored: float32, as of images."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return vectors (..., D) in float32."""
        return vectors.float()

    sized = __call__


class VectorDataset(IndexedDataset):
    """Some rows of a vector set; sample i is (vector, label, i).

    Where there are views, an epoch takes one of a sample's versions, the first among them, by (seed, epoch, index).

    Args:
        source: vectors and labels.
        rows: (N,) positions in `source`.
        draws_views: whether views are taken at all; the vectors themselves otherwise.
        seed: of the choice between versions.
    """

    def __init__(self, source: VectorSet, rows: Tensor, draws_views: bool = False, seed: int = 0) -> None:
        self.images, self.rows, self.labels = source.images, rows, source.labels[rows]
        self.class_names = source.class_names
        self.model_input: Any = SinglePrecision()
        self.augmentation, self.seed = None, seed
        self.versions = source.versions if draws_views else source.versions[:1]
        self._kept_versions: tuple[Tensor, ...] = ()
        self._labels_there, self._rows_there = self.labels, self.rows
        # A training subset that is the whole source needs no second index.
        self._whole = len(rows) == len(source.labels) and torch.equal(rows, torch.arange(len(rows)))

    @property
    def varies(self) -> bool:
        """Whether a sample may be another vector in another epoch."""
        return len(self.versions) > 1

    @property
    def in_one_tensor(self) -> bool:
        """Tell that a batch is made as a whole."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use, as they are stored."""
        return sum(len(self.rows) * version.shape[1] * version.itemsize for version in self.versions)

    def keep(self, device: torch.device, images: Tensor | None = None) -> None:
        """Keep the rows in use on a device, in the type they are stored in, where batches are made from now on."""
        if device.type == "cpu":
            return
        self._kept_versions = tuple(_all_rows(version, self.rows).to(device) for version in self.versions)
        self._labels_there = self.labels.to(device)

    def __getitem__(self, key: Key) -> Sample:
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected `key` to be in 0..{len(self) - 1}, but got {index}. The dataset ends there.")
        vectors, labels, indices = self.__getitems__(BatchKeys(torch.tensor([index % len(self)]), epoch))
        return vectors[0], labels[0], indices[0]

    def __getitems__(self, keys: Any) -> Any:
        """Return a whole batch: vectors (B, D), labels and indices (B,)."""
        if not isinstance(keys, BatchKeys):
            pairs = [key if isinstance(key, tuple) else (key, 0) for key in keys]
            epochs = {epoch for _, epoch in pairs} or {0}
            assert len(epochs) == 1  # the samplers draw a batch for one epoch
            keys = BatchKeys(torch.tensor([index for index, _ in pairs]), epochs.pop())
        indices = keys.indices
        if self._kept_versions:
            there = beside(indices, self._labels_there)
            vectors, indices = self._chosen(self._kept_versions, there, indices, keys.epoch), there
        else:
            rows = indices if self._whole else self.rows.index_select(0, indices)
            vectors = self._chosen(self.versions, rows, indices, keys.epoch)
        return self.model_input(vectors), self._labels_there.index_select(0, indices), indices

    def _chosen(self, versions: Sequence[Any], rows: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Take rows (B,) where the vectors lie; which version is drawn by the indices (B,), on the CPU."""
        if len(versions) == 1:
            return taken(versions[0], rows)
        draws = Draws.of(self.seed, torch.full_like(indices, epoch), indices).uniform(1)[:, 0]
        version_of = (draws * len(versions)).long()
        result = taken(versions[0], rows)
        for number, version in enumerate(versions[1:], start=1):
            places = beside((version_of == number).nonzero().flatten(), rows)
            result.index_copy_(0, places, taken(version, rows.index_select(0, places)).to(result.dtype))
        return result


def taken(vectors: Any, rows: Tensor) -> Tensor:
    """Return rows (B,) of vectors in memory or in a mapped file, in any order, as a new tensor (B, D)."""
    if isinstance(vectors, Tensor):
        return vectors.index_select(0, rows)
    return torch.from_numpy(vectors.take(rows.numpy()))


def read_whole(vectors: MappedRows) -> Tensor:
    """Read a mapped matrix into memory, (N, D) float32."""
    result = torch.empty(vectors.shape, dtype=torch.float32)
    for start in range(0, len(result), _ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + _ROWS_AT_ONCE, len(result)))
        result[start : start + len(rows)] = taken(vectors, rows)
    return result


def check_rows_finite(vectors: Any, file: str) -> None:
    """Read a mapped matrix once, a piece at a time, and raise DataError for the first row that is not finite."""
    for start in range(0, vectors.shape[0], _ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + _ROWS_AT_ONCE, vectors.shape[0]))
        _check_finite(taken(vectors, rows), start, file)


def _all_rows(vectors: Any, rows: Tensor) -> Tensor:
    return torch.cat([taken(vectors, piece) for piece in rows.split(_ROWS_AT_ONCE)])


def _check_finite(vectors: Tensor, first_row: int, file: str) -> None:
    # NaN and infinity stay in a sum, which takes a tenth of the time; the sum of finite numbers may overflow, too.
    if vectors.sum(dtype=torch.promote_types(vectors.dtype, torch.float32)).isfinite():
        return
    bad = (~vectors.isfinite()).any(1).nonzero().flatten()
    if len(bad):
        raise DataError(
            f"Expected {file} to be finite, but got NaN or infinity in {len(bad):,} samples, the first is number "
            f"{first_row + int(bad[0]):,}. Repair or remove them."
        )
