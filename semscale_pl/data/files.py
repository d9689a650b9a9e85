"""Image files as a dataset: a folder with one sub-folder a class, decoded when an image is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from semscale_pl.data.decoding import read_rgb, reason
from semscale_pl.data.finding import (
    USUAL_SUFFIXES,
    describe,
    entries_of,
    find_images,
    image_suffixes,
    is_folder,
    look_through,
)
from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.labels import composed
from semscale_pl.options import check

# Stands for the name of a class where files lie beside the class folders.
BESIDE = "beside the class folders"
# Name of a class to its folders: two that differ in the form of their accents alone are one class.
Classes = dict[str, list[Path]]
FORMATS = f"Formats: {', '.join(suffix.lstrip('.') for suffix in USUAL_SUFFIXES)} and what else Pillow reads."


class ImageFiles(Sequence[Any]):
    """The images of some files, decoded to RGB at each access.

    Args:
        upright: whether they are turned as their EXIF tag asks for.
    """

    def __init__(self, paths: Iterable[Path | str], upright: bool = False) -> None:
        self.paths, self.upright = [path if isinstance(path, str) else str(path) for path in paths], upright

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        try:
            return read_rgb(path, self.upright)
        except FileNotFoundError as error:
            raise DatasetNotFound(f"Image {path} was not found. Complete the dataset.") from error
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            raise DataError(
                f"Expected {path} to be an image, but it cannot be read: {reason(error)}. Replace it; "
                "`semscale data verify` finds all such files."
            ) from error

    def turned_upright(self) -> ImageFiles:
        """Return the same images, turned as their EXIF tags ask for."""
        return ImageFiles(self.paths, upright=True)


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
        folders = _classes(path)
        names = sorted(_classes(self._path(root, "train")))
        self._check_same_classes(names, sorted(folders), path)
        files, passed_over = _labelled(path, folders, names)
        if not files:
            said = describe(passed_over)
            raise DataError(
                f"Expected images in the class folders of {path}, but found none{said and f'; {said}'}. {FORMATS}"
            )
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        rows = torch.arange(len(files))
        if self.train_fraction is not None:
            rows = stratified_split(labels, self.train_fraction, seed)[0 if split == "train" else 1]
        return ImageSet(ImageFiles(files[row][0] for row in rows.tolist()), labels[rows], names, passed_over)

    def _remedy(self, folder: Path) -> str:
        if self.train_fraction is None and any(map(find_images, chain(*_classes(folder).values()))):
            return (
                f"{folder.resolve()} has folders of images itself: dataset.source.train_fraction=0.8 splits each of "
                "them in a training and a test part."
            )
        if self.address is None:
            return "Put one folder per class there, or set dataset.root to the folder that holds your data."
        return f"Get them from {self.address} and put one folder per class there (dataset.root or SEMSCALE_DATA)."

    def _path(self, root: Path, split: str) -> Path:
        return root / self.folder / ("" if self.train_fraction is not None else str(self.splits.get(split)))

    def _check_same_classes(self, names: list[str], found: list[str], path: Path) -> None:
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
    folders = _classes(root)
    names = sorted(folders)
    if not names:
        raise DataError(f"Expected one folder of images for each class in {root}, but it has no folders.")
    files, passed_over = _labelled(root, folders, names)
    filled = {label for _, label in files}
    empty = [name for label, name in enumerate(names) if label not in filled]
    if empty:
        said = describe({name: passed_over.get(name, ()) for name in empty})
        raise DataError(
            f"Expected images in every class folder of {root}, but {empty[0]!r} has none ({len(empty)} such)"
            f"{said and f'; {said}'}. Add some, or remove the folder. {FORMATS}"
        )
    labels = torch.tensor([label for _, label in files])
    return ImageSet(ImageFiles(file for file, _ in files), labels, names, passed_over)


def upright(images: Any) -> Any:
    """Return a sequence of image files that are turned as their EXIF tags ask for.

    Raises:
        DataError: the images are no files, so that there is no tag to read.
    """
    turned = getattr(images, "turned_upright", None)
    if turned is None:
        raise DataError(
            "Expected image files with exif_rotation=true, but these images come decoded, without a tag. Leave "
            "dataset.exif_rotation at false."
        )
    return turned()


def _classes(path: Path) -> Classes:
    found: Classes = {}
    for entry in entries_of(path) if path.is_dir() else ():
        if is_folder(entry):
            found.setdefault(composed(entry.name), []).append(path / entry.name)
    return found


def _labelled(path: Path, folders: Classes, names: list[str]) -> tuple[list[tuple[Path, int]], dict[str, list[Path]]]:
    """Return the images with their labels, and what is none, by class; of files beside the classes only images."""
    files: list[tuple[Path, int]] = []
    passed_over: dict[str, list[Path]] = {}
    for label, name in enumerate(names):
        for folder in folders.get(name, ()):
            found = look_through(folder)
            files += [(file, label) for file in found.images]
            passed_over[name] = passed_over.get(name, []) + found.passed_over
    astray = [entry for entry in entries_of(path) if not is_folder(entry)]
    suffixes = image_suffixes()
    passed_over[BESIDE] = [
        path / entry.name for entry in astray if entry.is_symlink() or entry.name.lower().endswith(suffixes)
    ]
    return files, {name: paths for name, paths in passed_over.items() if paths}
