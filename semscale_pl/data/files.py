"""Image files as a dataset: a folder with one sub-folder a class, decoded when an image is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.decoding import SUFFIXES, find_images, is_hidden, read_rgb, reason
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.options import check


class ImageFiles(Sequence[Any]):
    """The images of some files, decoded to RGB at each access."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        try:
            return read_rgb(path)
        except FileNotFoundError as error:
            raise DatasetNotFound(f"Image {path} was not found. Complete the dataset.") from error
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            raise DataError(
                f"Expected {path} to be an image, but it cannot be read: {reason(error)}. Replace it; "
                "`semscale data verify` finds all such files."
            ) from error


class Folder:
    """A folder with one sub-folder per class: split by folders train/, val/ and test/, or by us.

    Args:
        folder: below the root, or absolute.
        train_fraction: share of each class for training where there is no official split (the sub-folders are then the
            classes themselves); None expects folders per split, named as follows.
        address: where to get the data, for the message when it is missing; None for the user's own.
        train: folder of the training split.
        val: folder of the validation split, used where it exists; None for no such split.
        test: folder of the test split.
    """

    def __init__(
        self,
        folder: str,
        train_fraction: float | None = None,
        address: str | None = "its owner",
        *,
        train: str = "train",
        val: str | None = "val",
        test: str = "test",
    ) -> None:
        check("Folder", train_fraction=train_fraction)
        self.folder, self.train_fraction, self.address = folder, train_fraction, address
        self.splits = {"train": train, "val": val, "test": test}

    def prepare(self, root: Path, download: bool) -> None:
        """Check that the folder is there; nothing is fetched."""
        for split in ("train", "test"):
            if not _classes(self._path(root, split)):
                raise DatasetNotFound(
                    f"No folders of images in {self._path(root, split).resolve()}. {self._remedy(root / self.folder)}"
                )

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; without official folders "train" and "test" are cut by `seed`."""
        path = self._path(root, split)
        if split not in ("train", "test"):
            official = split == "val" and self.train_fraction is None and self.splits["val"] is not None
            if not (official and path.is_dir()):
                return None
        self.prepare(root, False)
        names = _classes(self._path(root, "train"))
        self._check_same_classes(names, path)
        files = _labelled(path, names)
        if not files:
            formats = ", ".join(suffix.lstrip(".") for suffix in SUFFIXES)
            raise DataError(f"Expected images in the class folders of {path}, but found none. Formats: {formats}.")
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        rows = torch.arange(len(files))
        if self.train_fraction is not None:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        return ImageSet(ImageFiles(files[row][0] for row in rows.tolist()), labels[rows], names)

    def _remedy(self, folder: Path) -> str:
        if self.train_fraction is None and any(find_images(folder / name) for name in _classes(folder)):
            return (
                f"{folder.resolve()} has folders of images itself: dataset.source.train_fraction=0.8 splits each of "
                "them in a training and a test part."
            )
        if self.address is None:
            return "Put one folder per class there, or set dataset.root to the folder that holds your data."
        return f"Get them from {self.address} and put one folder per class there (dataset.root or SEMSCALE_DATA)."

    def _path(self, root: Path, split: str) -> Path:
        return root / self.folder / ("" if self.train_fraction is not None else str(self.splits.get(split)))

    def _check_same_classes(self, names: list[str], path: Path) -> None:
        found = _classes(path)
        for more, less, where in ((names, found, path), (found, names, f"the training folder beside {path}")):
            lacking = sorted(set(more) - set(less))
            if lacking:
                raise DataError(
                    f"Expected the same class folders in every split, but {where} has no folder {lacking[0]!r} "
                    f"({len(lacking)} missing). Add it, or remove the class everywhere."
                )


def class_folders(folder: str | Path) -> ImageSet:
    """List the images of a folder with one sub-folder for each class, in alphabetical order.

    Args:
        folder: with the class folders, or with train/ beside test/ or val/, whose class folders are taken then.

    Raises:
        DataError: there is no sub-folder, or one without an image.
    """
    root = Path(folder)
    if (root / "train").is_dir() and ((root / "test").is_dir() or (root / "val").is_dir()):
        root = root / "train"
    names = _classes(root)
    if not names:
        raise DataError(f"Expected one folder of images for each class in {root}, but it has no folders.")
    files = _labelled(root, names)
    filled = {label for _, label in files}
    empty = [name for label, name in enumerate(names) if label not in filled]
    if empty:
        raise DataError(
            f"Expected images in every class folder of {root}, but {empty[0]!r} has none ({len(empty)} such). "
            "Add some, or remove the folder."
        )
    return ImageSet(ImageFiles(file for file, _ in files), torch.tensor([label for _, label in files]), names)


def _classes(path: Path) -> list[str]:
    entries = path.iterdir() if path.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))


def _labelled(path: Path, names: list[str]) -> list[tuple[Path, int]]:
    return [(file, label) for label, name in enumerate(names) for file in find_images(path / name)]
