"""Images as Hugging Face's `datasets` saves them to disk: a dataset, or one for each split."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semscale_pl.data.packed import PackedFile, state_of_files
from semscale_pl.data.packed_source import SPLIT_IT, PackedSource, Part, check_columns
from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.extras import require
from semscale_pl.terminal import printable


class SavedDatasets(PackedSource):
    """A folder that `save_to_disk` of a `Dataset` or a `DatasetDict` wrote, memory-mapped; needs the extra `hf`.

    Classes have the names of the label's feature, a `ClassLabel`.

    Args:
        path: of the folder, below the root or absolute.
        train: name of the training split in it; a dataset without splits is the training split.
        val: likewise of the validation split, used where it exists; None for no such split.
        test: likewise of the test split.
        image_column: of images (a feature `Image`), or of the bytes of image files.
        label_column: of words or numbers.
        settings: the other arguments of :class:`~semscale_pl.data.packed_source.PackedSource`.

    Raises:
        ValueError: the package `datasets` is not installed.
    """

    def __init__(
        self,
        path: str = ".",
        train: str = "train",
        test: str | None = "test",
        val: str | None = "validation",
        *,
        image_column: str = "image",
        label_column: str = "label",
        **settings: Any,
    ) -> None:
        super().__init__(train, test, val, **settings)
        require("datasets", "dataset=hf")
        self.path, self.image_column, self.label_column = path, str(image_column), str(label_column)

    def open(self, split: str, root: Path) -> Part:
        """Map a split, and read its labels."""
        folder, wanted = root / self.path, str(self.splits[split])
        place = self._place(folder, wanted)
        dataset = _opened(place)
        what = f"{self.label_column} of {printable(str(place))}"
        _check_columns(dataset, self.image_column, self.label_column, place)
        labels = dataset.select_columns([self.label_column]).with_format("arrow")[:].column(0)
        pack = SavedImages(place, self.image_column, [entry["filename"] for entry in dataset.cache_files])
        width = len(str(max(len(dataset) - 1, 0)))
        paths = [PackedFile(f"{place}/{number:0{width}}", pack, number) for number in range(len(dataset))]
        return Part(paths, labels.to_pandas(), what, getattr(dataset.features[self.label_column], "names", None))

    def _place(self, folder: Path, split: str) -> Path:
        """Return where a split lies: a folder of its own, or for the training split the only one."""
        splits = sorted(file.parent.name for file in folder.glob("*/dataset_info.json"))
        if (folder / "state.json").is_file():
            if split == self.splits["train"]:
                return folder
            raise DatasetNotFound(f"{printable(str(folder))} holds one dataset without splits; {SPLIT_IT}")
        if split in splits:
            return folder / split
        if not splits:
            raise DatasetNotFound(
                f"Expected a folder that `save_to_disk` of a dataset wrote at {folder.resolve()}, but there is none. "
                "Set dataset.root to it; files as the Hub stores them are read by dataset=parquet_images."
            )
        raise DatasetNotFound(
            f"Expected a split `{printable(split)}` in {printable(str(folder))}, but got {', '.join(splits)}. Name one "
            f"in dataset.source.{next(key for key, name in self.splits.items() if name == split)}; {SPLIT_IT}"
        )


class SavedImages:
    """The images of one saved dataset; see :class:`~semscale_pl.data.packed.Pack`.

    Args:
        folder: of the dataset.
        column: of the images.
        files: that hold its rows.
    """

    def __init__(self, folder: str | Path, column: str, files: Sequence[str]) -> None:
        self.folder, self.column, self.files = str(folder), column, list(files)
        self.state = state_of_files(files)
        self._reset()

    def read(self, number: int) -> bytes:
        """Return the bytes of an image, of its own file where the dataset only names that.

        Raises:
            ValueError: the row has neither.
            OSError: a file cannot be read.
        """
        value = self._rows()[number][self.column]
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if content is None and path:
            return Path(path).read_bytes()
        if content is None:
            raise ValueError("the row has no bytes")
        return bytes(content)

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("folder", "column", "files", "state")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._process, self._lock, self._dataset = os.getpid(), threading.Lock(), None

    def _rows(self) -> Any:
        if self._process != os.getpid():  # in a forked process the lock may be held for ever
            self._reset()
        with self._lock:
            if self._dataset is None:
                import datasets

                rows = _opened(self.folder).select_columns([self.column])
                if isinstance(rows.features[self.column], datasets.Image):
                    rows = rows.cast_column(self.column, datasets.Image(decode=False))
                self._dataset = rows
            return self._dataset


def _opened(folder: str | Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever damaged files lead to
        raise DataError(
            f"Expected a saved dataset in {printable(str(folder))}, but it cannot be read: "
            f"{' '.join(str(error).split()).rstrip('.') or type(error).__name__}. Save it again."
        ) from error


def _check_columns(dataset: Any, image_column: str, label_column: str, place: Path) -> None:
    import datasets

    check_columns(list(dataset.features), image_column, label_column, place)
    feature = dataset.features[image_column]
    is_bytes = isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
    if not isinstance(feature, datasets.Image) and not is_bytes:
        raise DataError(
            f"Expected column `{image_column}` of {printable(str(place))} to hold images, but got {feature}. Name "
            "another: dataset.source.image_column."
        )
