"""Features as a dataset: labelled files or an embedding store, made long-tailed, sampled and batched as images are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.samplers import EvaluationBatchSampler, GlobalBatchSampler
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.data.vectors import BatchKeys, VectorDataset, VectorSet, check_rows_finite, read_whole
from semscale_pl.features.arrays import MappedRows
from semscale_pl.features.opening import open_features
from semscale_pl.features.source import FeatureSource
from semscale_pl.features.store import EmbeddingStore
from semscale_pl.options import check
from semscale_pl.terminal import printable

# Bytes of one part in float32 that "auto" reads into memory; more stay in their file.
LARGEST = 2**30
# Bytes of a file that cannot be mapped, such as one that is compressed, which are read all the same.
_MOST_BYTES = 2**32
# Share of a GPU's free memory that one part may take.
_SHARE_OF_GPU = 0.5


class FeatureFiles:
    """Labelled feature files, one for each split; see :func:`semscale_pl.features.opening.open_features`.

    The classes are those of the training file; the other files name them alike, and may lack some.

    Args:
        files: split ("train", "val", "test") to its file; None for no such split.
        labels: split to the file with its labels, where they are not in the same one.
        train_fraction: share of each class of the training file that is trained on, the rest being the test split.
        in_memory: "auto", True or False, see :class:`FeatureDataModule`.
        reading: ``label_column``, ``feature_columns`` and ``feature_key``.

    Raises:
        ValueError: there is no training file, or neither a test file nor a share.
    """

    def __init__(
        self,
        files: Mapping[str, str | None],
        labels: Mapping[str, str | None] | None = None,
        train_fraction: float | None = None,
        in_memory: Any = "auto",
        **reading: Any,
    ) -> None:
        check("FeatureDataModule", train_fraction=train_fraction)
        self.files, self.labels = dict(files), dict(labels or {})
        self.train_fraction, self.in_memory, self.reading = train_fraction, in_memory, reading
        self._opened: dict[str, VectorSet] = {}
        if self.files.get("train") is None or (self.files.get("test") is None) == (train_fraction is None):
            raise ValueError(
                "Expected dataset.train=FILE with dataset.test=FILE or dataset.train_fraction=SHARE, but got "
                f"train={self.files.get('train')}, test={self.files.get('test')}, train_fraction={train_fraction}."
            )

    def prepare(self, root: Path, download: bool) -> None:
        """Look whether the files are there."""
        for file in filter(None, (*self.files.values(), *self.labels.values())):
            if not Path(file).is_file():
                raise DatasetNotFound(f"Expected a file of features at {printable(str(file))}, but there is none.")

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; of one file alone the training and the test part, cut by `seed`."""
        if self.train_fraction is not None and split in ("train", "test"):
            whole = self._open("train")
            rows = stratified_split(whole.labels, self.train_fraction, seed)[0 if split == "train" else 1]
            return _rows_of(whole, rows)
        return None if self.files.get(split) is None else self._open(split)

    def _open(self, split: str) -> VectorSet:
        if split not in self._opened:
            try:
                source = open_features(str(self.files[split]), self.labels.get(split), **self.reading)
            except ValueError as error:
                raise DataError(f"dataset.{split}: {_with_own_keys(str(error), split)}") from error
            if split == "train":
                labels, names = torch.from_numpy(source.labels), list(source.class_names)
            else:
                train = self._open("train")
                names = train.class_names
                labels = _as_in_training(source, names)
                if source.num_features != train.num_features:
                    raise DataError(
                        f"Expected {source.name} to have {train.num_features} features, as {self.files['train']}, but "
                        f"it has {source.num_features}. Embed both with the same model."
                    )
            may_stay = self.train_fraction is None
            self._opened[split] = VectorSet(_vectors(source, self.in_memory, may_stay), labels, names)
        return self._opened[split]


class FeatureStore:
    """An embedding store: its parts are the splits.

    Args:
        folder: of the store.
        in_memory: "auto", True or False, see :class:`FeatureDataModule`.
        views: whether the features of augmented copies are read.
    """

    def __init__(self, folder: str, in_memory: Any = "auto", views: bool = True) -> None:
        self.folder, self.in_memory, self.views = folder, in_memory, views
        self._opened: EmbeddingStore | None = None
        self._sets: dict[str, VectorSet] = {}

    def prepare(self, root: Path, download: bool) -> None:
        """Open the store, which checks everything in it."""
        self._store()

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the part of that name, None where the store has none."""
        store = self._store()
        if split not in store.parts:
            return None
        if split not in self._sets:
            part = store.part(split)
            views = tuple(part.views) if self.views and split == "train" else ()
            shares = 1 + len(views)
            features, *others = (_stored(array, self.in_memory, shares) for array in (part.features, *views))
            labels = torch.from_numpy(np.array(part.labels, dtype=np.int64))
            self._sets[split] = VectorSet(features, labels, list(store.class_names), views=tuple(others))
        return self._sets[split]

    def _store(self) -> EmbeddingStore:
        if self._opened is None:
            try:
                self._opened = EmbeddingStore.open(self.folder)
            except ValueError as error:
                raise DataError(f"dataset.store: {error}") from error
        return self._opened


class FeatureDataModule(ImbalancedDataModule):
    """Labelled features, made long-tailed, as batches (features (B, D), labels, indices).

    Args:
        store: folder of an embedding store; or
        train: file of the training features, with
        test: file of the test features, or
        train_fraction: share of each class of the training file that is trained on, the rest being the test split.
        val: file of validation features.
        train_labels, val_labels, test_labels: files of the labels, where they are not in the same ones.
        label_column, feature_columns, feature_key: what to take from the files, see
            :func:`semscale_pl.features.opening.open_features`.
        num_features: D, checked against the data where given.
        views: whether an epoch draws between a sample's features and those of its augmented copies in the store.
        in_memory: "auto" reads parts of at most 1 GiB in float32 into memory, and copies to a GPU what takes at most
            half of its free memory; True reads all; False leaves what can be mapped in its file.
        settings: the other arguments of :class:`~semscale_pl.data.datamodule.ImbalancedDataModule`, but those of
            images.

    Raises:
        ValueError: neither a store nor a training file is given, or both are.
    """

    num_features: int
    train_dataset: VectorDataset

    def __init__(
        self,
        *,
        store: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        train_fraction: float | None = None,
        train_labels: str | None = None,
        val_labels: str | None = None,
        test_labels: str | None = None,
        label_column: str | None = None,
        feature_columns: str | Sequence[str] = (),
        feature_key: str | None = None,
        num_features: int | None = None,
        views: bool = True,
        in_memory: Any = "auto",
        **settings: Any,
    ) -> None:
        check("FeatureDataModule", num_features=num_features, views=views, in_memory=in_memory)
        if (store is None) == (train is None):
            raise ValueError(
                "Expected dataset.store=FOLDER, or dataset.train=FILE with dataset.test=FILE, but got "
                f"store={store}, train={train}."
            )
        if settings.get("augmentation") is not None:
            raise ValueError(
                "Expected no augmentation of features, but got one of images. Leave `augmentation` out, or embed "
                "augmented copies: semscale embed augment_copies=K."
            )
        if store is not None:
            source: Any = FeatureStore(store, in_memory, views)
        else:
            files = {"train": train, "val": val, "test": test}
            labels = {"train": train_labels, "val": val_labels, "test": test_labels}
            reading = {
                "label_column": label_column, "feature_columns": feature_columns, "feature_key": feature_key,
            }  # fmt: skip
            source = FeatureFiles(files, labels, train_fraction, in_memory, **reading)
        super().__init__(source, check_images="none", in_memory=in_memory, **settings)
        self.expected_features = num_features

    @property
    def varies(self) -> bool:
        """Whether a sample may be another vector in another epoch."""
        return self.train_dataset.varies

    def _build(self) -> None:
        super()._build()
        self.num_features = int(self.train_dataset.images.shape[1])  # type: ignore[union-attr]
        if self.expected_features not in (None, self.num_features):
            raise DataError(
                f"Expected `num_features` to be {self.num_features}, as in the data, but got "
                f"{self.expected_features}. Use features of the model that it was trained on."
            )

    def _dataset(self, samples: ImageSet, rows: Tensor, training: bool = False) -> VectorDataset:
        assert isinstance(samples, VectorSet)
        return VectorDataset(samples, rows, training, self.augmentation_seed)

    def _keep(self, dataset: Any, device: torch.device) -> bool:
        """Copy a part to a GPU that has room for it; its batches are made without workers anyway."""
        if device.type == "cuda" and self.in_memory is not False:
            free, _ = torch.cuda.mem_get_info(device)
            if self.in_memory is True or dataset.nbytes <= _SHARE_OF_GPU * free:
                dataset.keep(device)
        return True

    def _keyed(self, batches: GlobalBatchSampler | EvaluationBatchSampler) -> Any:
        return TensorBatches(batches)

    def _loader(self, dataset: Any, batches: Any) -> VectorLoader:
        self._keeps(dataset)
        return VectorLoader(dataset, batch_sampler=batches)


class VectorLoader(DataLoader[Any]):
    """A loader whose batches are slices, made one by one in this process: an iteration draws and starts nothing.

    Args:
        dataset: a :class:`~semscale_pl.data.vectors.VectorDataset`.
        batch_sampler: a :class:`TensorBatches`.
    """

    def __iter__(self) -> Any:
        made = self.dataset.__getitems__  # type: ignore[attr-defined]
        return map(made, self.batch_sampler)  # type: ignore[arg-type]


class TensorBatches:
    """The batches of a sampler with their positions as a tensor instead of a list.

    Args:
        batches: whose keys are taken over.
    """

    def __init__(self, batches: GlobalBatchSampler | EvaluationBatchSampler) -> None:
        self.batches = batches

    @property
    def sampler(self) -> Any:
        """What Lightning tells the epoch."""
        return getattr(self.batches, "sampler", None)

    def __iter__(self) -> Any:
        epoch = getattr(self.sampler, "epoch", 0)
        for indices in self.batches.tensors():
            yield BatchKeys(indices, epoch)

    def __len__(self) -> int:
        return len(self.batches)


def _with_own_keys(message: str, split: str) -> str:
    """Name the settings of a message about a file as a training has them, several columns as Hydra reads them."""
    message = re.sub(r"\b(label_column|feature_columns|feature_key)(?=[=`])", r"dataset.\1", message)
    message = re.sub(r"(feature_columns=)([^\s\['\"]+,\S+?)(?=[.,;]?(?:\s|$))", r"\1[\2]", message)
    message = re.sub(r"(feature_columns=)('[^']*')", r'\1"\2"', message)
    return re.sub(r"\blabels(?=[=`])", f"dataset.{split}_labels", message)


def _as_in_training(source: FeatureSource, names: Sequence[str]) -> Tensor:
    """Return labels (N,) numbered as the classes of the training file are."""
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [name for name in source.class_names if name not in numbers]
    if unknown:
        raise DataError(
            f"Expected the classes of {source.name} in the training features, but {len(unknown)} are not there, for "
            f"example {printable(unknown[0])!r}. Use files with the same classes."
        )
    return torch.tensor([numbers[name] for name in source.class_names])[torch.from_numpy(source.labels)]


def _vectors(source: FeatureSource, in_memory: Any, may_stay: bool) -> Tensor | MappedRows:
    """Read the features of a file into memory, or map them where they are many and may stay in their file."""
    size, matrix = 4 * source.num_rows * source.num_features, source.matrix
    if may_stay and isinstance(matrix, MappedRows) and matrix.by_rows and _stays(size, in_memory):
        check_rows_finite(matrix)
        return matrix
    if size > _MOST_BYTES and in_memory is not True:
        raise DataError(
            f"Expected at most {_MOST_BYTES / 2**30:g} GiB of features in a file that cannot be mapped into memory, "
            f"but {source.name} has {size / 2**30:.1f} GiB. Save it as .npy, or set dataset.in_memory=true."
        )
    result = torch.empty((source.num_rows, source.num_features))
    start = 0
    for piece in source.rows(np.arange(source.num_rows), 2**14):
        result[start : start + len(piece)] = torch.from_numpy(piece)
        start += len(piece)
    return result


def _stored(array: np.ndarray, in_memory: Any, versions: int) -> Tensor | MappedRows:
    """Return one of so many versions of a part as it is used, read or mapped from the store's file."""
    assert isinstance(array, np.memmap)
    mapped = MappedRows(Path(str(array.filename)), array.shape, array.dtype, array.offset)
    size = 4 * array.size * versions
    return mapped if _stays(size, in_memory) else read_whole(mapped)


def _stays(size: int, in_memory: Any) -> bool:
    return in_memory is False or (in_memory == "auto" and size > LARGEST)


def _rows_of(whole: VectorSet, rows: Tensor) -> VectorSet:
    assert isinstance(whole.images, Tensor)
    return VectorSet(whole.images[rows], whole.labels[rows], whole.class_names)
