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
from semscale_pl.features.feature_files import LABEL_FORMATS, found_files
from semscale_pl.features.opening import open_features
from semscale_pl.features.shards import NoSuchPartError, is_mapped, names_shown
from semscale_pl.features.source import FeatureSource
from semscale_pl.features.store import EmbeddingStore, found_store, is_store
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
        files: split ("train", "val", "test") to its file, or to an embedding store, of which that part is taken; None
            for no such split.
        labels: split to the file with its labels, where they are not in the same one.
        train_fraction: share of each class of the training file that is trained on, the rest being the test split.
        in_memory: "auto", True or False, see :class:`FeatureDataModule`.
        split_key: column or array of the training file that says of each row whether it is of train, val or test.
        class_names: see :func:`semscale_pl.features.opening.open_features`.
        reading: ``label_column``, ``label_key``, ``feature_columns`` and ``feature_key``.

    Raises:
        ValueError: there is no training file, or not one of a test file, a share and a column of parts.
    """

    def __init__(
        self,
        files: Mapping[str, str | None],
        labels: Mapping[str, str | None] | None = None,
        train_fraction: float | None = None,
        in_memory: Any = "auto",
        split_key: str | None = None,
        class_names: str | Sequence[str] | None = None,
        **reading: Any,
    ) -> None:
        check("FeatureDataModule", train_fraction=train_fraction)
        self.files, self.labels, self.split_key = dict(files), dict(labels or {}), split_key
        self.train_fraction, self.in_memory, self.reading = train_fraction, in_memory, reading
        self.class_names = class_names if isinstance(class_names, str) else list(class_names or ()) or None
        self._opened: dict[str, VectorSet | None] = {}
        ways = [self.files.get("test"), train_fraction, split_key]
        if self.files.get("train") is None or sum(way is not None for way in ways) != 1:
            raise ValueError(
                "Expected dataset.train=FILE with one of dataset.test=FILE, dataset.train_fraction=SHARE and "
                f"dataset.split_key=NAME, but got train={self.files.get('train')}, test={ways[0]}, "
                f"train_fraction={train_fraction}, split_key={split_key}."
            )

    def prepare(self, root: Path, download: bool) -> None:
        """Look whether the files are there."""
        for split, file in self.files.items():
            try:
                if file is not None and not is_store(found_store(file)):
                    found_files(file, f"dataset.{split}")
                if self.labels.get(split) is not None:
                    found_files(str(self.labels[split]), f"dataset.{split}_labels", LABEL_FORMATS)
            except ValueError as error:
                raise DatasetNotFound(printable(str(error))) from error

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; of one file alone the training and the test part, cut by `seed`."""
        if self.train_fraction is not None and split in ("train", "test"):
            whole = self._training()
            rows = stratified_split(whole.labels, self.train_fraction, seed)[0 if split == "train" else 1]
            return _rows_of(whole, rows)
        if self.files.get(split) is None and self.split_key is None:
            return None
        if split not in self._opened:
            self._opened[split] = self._open(split)
        return self._opened[split]

    def _training(self) -> VectorSet:
        if self._opened.get("train") is None:
            self._opened["train"] = self._open("train")
        training = self._opened["train"]
        assert training is not None
        return training

    def _open(self, split: str) -> VectorSet | None:
        """Read a split; None where the column of parts names no validation sample."""
        try:
            source = self._source(split, self.class_names)
            if split == "train":
                self._names_given = source.names_given
                labels, names = torch.from_numpy(source.labels), list(source.class_names)
            else:
                train = self._training()
                names = train.class_names
                if self._names_given and not source.names_given:
                    source = self._source(split, names)
                labels = _as_in_training(source, names, self._names_given)
                if source.num_features != train.num_features:
                    raise DataError(
                        f"Expected {source.name} to have {train.num_features} features, as {self.files['train']}, but "
                        f"it has {source.num_features}. Embed both with the same model."
                    )
        except NoSuchPartError as error:
            if split == "val":
                return None
            raise DataError(f"dataset.train: {_with_own_keys(str(error), 'train')}") from error
        may_stay = self.train_fraction is None
        vectors = _vectors(source, self.in_memory, may_stay)
        return VectorSet(vectors, labels, names, file=f"the features of {printable(source.name)}")

    def _source(self, split: str, class_names: str | Sequence[str] | None) -> FeatureSource:
        own = "train" if self.split_key is not None else split
        part = {"split_key": self.split_key, "part": split} if self.split_key is not None else {}
        if is_store(found_store(str(self.files[own]))):
            part["part"] = split
        try:
            return open_features(
                str(self.files[own]), self.labels.get(own), class_names=class_names, **part, **self.reading
            )
        except NoSuchPartError:
            raise
        except ValueError as error:
            raise DataError(f"dataset.{own}: {_with_own_keys(str(error), own)}") from error


class FeatureStore:
    """An embedding store: its parts are the splits.

    Args:
        folder: of the store.
        in_memory: "auto", True or False, see :class:`FeatureDataModule`.
        views: whether the features of augmented copies are read.
        train_fraction: share of each class of its training part that is trained on, the rest being the test split,
            where it has none; all is read into memory then.

    Raises:
        DataError: it has a part for the test as well.
    """

    def __init__(
        self, folder: str, in_memory: Any = "auto", views: bool = True, train_fraction: float | None = None
    ) -> None:
        check("FeatureDataModule", train_fraction=train_fraction)
        self.folder, self.views, self.train_fraction = folder, views, train_fraction
        self.in_memory = in_memory if train_fraction is None else True
        self._opened: EmbeddingStore | None = None
        self._sets: dict[str, VectorSet] = {}

    def prepare(self, root: Path, download: bool) -> None:
        """Open the store, which checks everything in it."""
        self._store()

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the part of that name, or its share of the training part, cut by `seed`; None where there is none."""
        if self.train_fraction is not None and split in ("train", "test"):
            if "test" in self._store().parts:
                raise DataError("Expected no `train_fraction` with a store that has a part for the test. Leave it out.")
            whole = self._part("train")
            assert whole is not None
            return _rows_of(whole, stratified_split(whole.labels, self.train_fraction, seed)[split == "test"])
        return self._part(split)

    def _part(self, split: str) -> VectorSet | None:
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
        train_fraction: share of each class of the training file, or of a store without a part for the test, that is
            trained on, the rest being the test split.
        val: file of validation features.
        train_labels, val_labels, test_labels: files of the labels, where they are not in the same ones.
        label_column, label_key, feature_columns, feature_key, class_names: what to take from the files, see
            :func:`semscale_pl.features.opening.open_features`.
        split_key: column or array of the training file that says of each row whether it is of train, val or test.
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
        split_key: str | None = None,
        label_column: str | None = None,
        label_key: str | None = None,
        feature_columns: str | Sequence[str] = (),
        feature_key: str | None = None,
        class_names: str | Sequence[str] | None = None,
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
            source: Any = FeatureStore(store, in_memory, views, train_fraction)
        else:
            files = {"train": train, "val": val, "test": test}
            labels = {"train": train_labels, "val": val_labels, "test": test_labels}
            reading = {
                "label_column": label_column, "label_key": label_key, "feature_columns": feature_columns,
                "feature_key": feature_key,
            }  # fmt: skip
            source = FeatureFiles(files, labels, train_fraction, in_memory, split_key, class_names, **reading)
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
    keys = "label_column|label_key|feature_columns|feature_key|split_key|class_names"
    message = re.sub(rf"\b({keys})(?=[=`])", r"dataset.\1", message)
    message = re.sub(r"(feature_columns=)([^\s\['\"]+,\S+?)(?=[.,;]?(?:\s|$))", r"\1[\2]", message)
    message = re.sub(r"(feature_columns=)('[^']*')", r'\1"\2"', message)
    return re.sub(r"\blabels(?=[=`])", f"dataset.{split}_labels", message)


def _as_in_training(source: FeatureSource, names: Sequence[str], names_given: bool) -> Tensor:
    """Return labels (N,) numbered as the classes of the training file are."""
    if names_given and source.names_given and list(names) != list(source.class_names):
        raise DataError(
            f"Expected {source.name} to name the classes as the training features do, {names_shown(names)}, but got "
            f"{names_shown(source.class_names)}. Write both with one list of names, or pass dataset.class_names=FILE."
        )
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [name for name in source.class_names if name not in numbers]
    if unknown:
        cure = ", or pass dataset.class_names=FILE" if source.names_given and not names_given else ""
        raise DataError(
            f"Expected the classes of {source.name} in the training features, but {len(unknown)} are not there, for "
            f"example {printable(unknown[0])!r}. Use files with the same classes{cure}."
        )
    return torch.tensor([numbers[name] for name in source.class_names])[torch.from_numpy(source.labels)]


def _vectors(source: FeatureSource, in_memory: Any, may_stay: bool) -> Any:
    """Read the features of a file into memory, or map them where they are many and may stay in their file."""
    size, matrix = 4 * source.num_rows * source.num_features, source.matrix
    if may_stay and is_mapped(matrix) and _stays(size, in_memory):
        check_rows_finite(matrix, f"the features of {printable(source.name)}")
        return matrix
    if size > _MOST_BYTES and in_memory is not True:
        raise DataError(
            f"Expected at most {_MOST_BYTES / 2**30:g} GiB of features in a file that cannot be mapped into memory, "
            f"but {source.name} has {size / 2**30:.1f} GiB. Save it as .npy or .safetensors, or set "
            "dataset.in_memory=true."
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
    views = tuple(view[rows] for view in whole.views)  # type: ignore[misc]
    return VectorSet(whole.images[rows], whole.labels[rows], whole.class_names, views=views)
