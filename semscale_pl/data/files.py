"""Image files read when they are needed, and folders with one sub-folder per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")


class ImageFiles(Sequence[Any]):
    """The images of some files, decoded to RGB at each access.

    Args:
        paths: of the files.
    """

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
                f"Expected {path} to be an image, but it cannot be read: {' '.join(str(error).split())}. Replace it; "
                "`semscale data verify` finds all such files."
            ) from error


def read_rgb(path: str | Path) -> Any:
    """Decode an image file to RGB; opacity is dropped, 16-bit grey keeps its upper byte.

    Args:
        path: of the file.

    Raises:
        ValueError: the pixels are 32-bit numbers, which say nothing of where black and white lie.
    """
    from PIL import Image

    with Image.open(path) as image:
        # Pillow would clip at 255 instead of scaling; its version 10 has 16-bit PNG files in the mode of 32 bits.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError(f"32-bit pixels (mode {image.mode}) have no fixed range: save it with 8 or 16 bits")
        if image.mode == "P" and "transparency" in image.info:  # Pillow warns of a direct way
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")


def image_paths(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted, without hidden ones: `._1.jpg` of macOS is no image.

    Args:
        folder: searched with its sub-folders.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(map(is_hidden, path.relative_to(folder).parts)))


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is not for the user's eyes, as `.ipynb_checkpoints`."""
    return name.startswith(".")


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
        if train_fraction is not None and not 0 < train_fraction < 1:
            raise ValueError(f"Expected `train_fraction` to be in (0, 1), but got {train_fraction}. Try 0.5, or null.")
        self.folder, self.train_fraction, self.address = folder, train_fraction, address
        self.splits = {"train": train, "val": val, "test": test}

    def prepare(self, root: Path, download: bool) -> None:
        """Check that the folder is there; nothing is fetched."""
        for split in ("train", "test"):
            if not self._classes(self._path(root, split)):
                raise DatasetNotFound(
                    f"No folders of images in {self._path(root, split).resolve()}. {self._remedy(root / self.folder)}"
                )

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; without official folders "train" and "test" are cut by `seed`."""
        if not self._has(root, split):
            return None
        path = self._path(root, split)
        self.prepare(root, False)
        names = self._classes(self._path(root, "train"))
        self._check_same_classes(names, path)
        files = [(file, label) for label, name in enumerate(names) for file in image_paths(path / name)]
        if not files:
            raise DataError(f"Expected images in the class folders of {path}, but found none. Formats: {_formats()}.")
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        rows = torch.arange(len(files))
        if self.train_fraction is not None:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        return ImageSet(ImageFiles(files[row][0] for row in rows.tolist()), labels[rows], names)

    def _remedy(self, folder: Path) -> str:
        if self.train_fraction is None and any(image_paths(folder / name) for name in self._classes(folder)):
            return (
                f"{folder.resolve()} has folders of images itself: dataset.source.train_fraction=0.8 splits each of "
                "them in a training and a test part."
            )
        if self.address is None:
            return "Put one folder per class there, or set dataset.root to the folder that holds your data."
        return f"Get them from {self.address} and put one folder per class there (dataset.root or SEMSCALE_DATA)."

    def _path(self, root: Path, split: str) -> Path:
        return root / self.folder / ("" if self.train_fraction is not None else str(self.splits[split]))

    def _has(self, root: Path, split: str) -> bool:
        if split in ("train", "test"):
            return True
        official = split == "val" and self.train_fraction is None and self.splits["val"] is not None
        return official and self._path(root, split).is_dir()

    def _check_same_classes(self, names: list[str], path: Path) -> None:
        found = self._classes(path)
        for more, less, where in ((names, found, path), (found, names, f"the training folder beside {path}")):
            lacking = sorted(set(more) - set(less))
            if lacking:
                raise DataError(
                    f"Expected the same class folders in every split, but {where} has no folder {lacking[0]!r} "
                    f"({len(lacking)} missing). Add it, or remove the class everywhere."
                )

    @staticmethod
    def _classes(path: Path) -> list[str]:
        entries = path.iterdir() if path.is_dir() else ()
        return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))


def _formats() -> str:
    return ", ".join(suffix.lstrip(".") for suffix in SUFFIXES)
