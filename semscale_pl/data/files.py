"""Image files read when they are needed, and folders with one sub-folder per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DatasetNotFound, ImageSet

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")


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
        from PIL import Image

        try:
            with Image.open(self.paths[index]) as image:
                return image.convert("RGB")
        except FileNotFoundError as error:
            raise DatasetNotFound(f"Image {self.paths[index]} was not found. Complete the dataset.") from error


def image_paths(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted.

    Args:
        folder: searched with its sub-folders.
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


class Folder:
    """A folder with one sub-folder per class: split by folders train/, val/ and test/, or by us.

    Args:
        folder: below the root, or absolute.
        train_fraction: share of each class for training where there is no official split (the sub-folders are then the
            classes themselves); None expects folders per split, named as follows.
        address: where to get the data, for the message when it is missing.
        train: folder of the training split.
        val: folder of the validation split, used where it exists; None for no such split.
        test: folder of the test split.
    """

    def __init__(
        self,
        folder: str,
        train_fraction: float | None = None,
        address: str = "its owner",
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
                    f"No folders of images in {self._path(root, split).resolve()}. Get them from {self.address} and "
                    "put one folder per class there (dataset.root or SEMSCALE_DATA)."
                )

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return a split; without official folders "train" and "test" are cut by `seed`."""
        if not self._has(root, split):
            return None
        path = self._path(root, split)
        self.prepare(root, False)
        names = self._classes(self._path(root, "train"))
        files = [(file, label) for label, name in enumerate(names) for file in image_paths(path / name)]
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        rows = torch.arange(len(files))
        if self.train_fraction is not None:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        return ImageSet(ImageFiles(files[row][0] for row in rows.tolist()), labels[rows], names)

    def _path(self, root: Path, split: str) -> Path:
        return root / self.folder / ("" if self.train_fraction is not None else str(self.splits[split]))

    def _has(self, root: Path, split: str) -> bool:
        if split in ("train", "test"):
            return True
        official = split == "val" and self.train_fraction is None and self.splits["val"] is not None
        return official and self._path(root, split).is_dir()

    @staticmethod
    def _classes(path: Path) -> list[str]:
        return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
