"""Image files: found in folders, read when they are needed, and checked without a model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

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


def class_folders(folder: str | Path) -> ImageSet:
    """List the images of a folder with one sub-folder for each class.

    Args:
        folder: with the class folders, or with train/ beside test/ or val/, whose class folders are taken then.

    Returns:
        Images and labels; the classes are the sub-folders in alphabetical order.

    Raises:
        DataError: there is no sub-folder, or one without an image.
    """
    root = Path(folder)
    if (root / "train").is_dir() and ((root / "test").is_dir() or (root / "val").is_dir()):
        root = root / "train"
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"Expected one folder of images for each class in {root}, but it has no folders.")
    files = [image_paths(root / name) for name in names]
    empty = [name for name, found in zip(names, files, strict=True) if not found]
    if empty:
        raise DataError(
            f"Expected images in every class folder of {root}, but {empty[0]!r} has none ({len(empty)} such). "
            "Add some, or remove the folder."
        )
    labels = [label for label, found in enumerate(files) for _ in found]
    return ImageSet(ImageFiles(path for found in files for path in found), torch.tensor(labels), names)


# Colour modes that Pillow turns into RGB whatever the pixels are; the others are tried.
_CONVERTIBLE = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")


def decoded(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Decode image files in threads, a few at a time.

    Args:
        paths: of the files.

    Yields:
        Path, Pillow's name of the colour mode, and why it cannot be decoded (empty where it can).
    """
    waiting = iter(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, 1024)):
            yield from pool.map(_decode, chunk)


def _decode(path: str) -> tuple[str, str, str]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format == "JPEG":  # all bytes are read, but the pixels are worked out at an eighth of the size
                image.draft(None, (image.width // 8, image.height // 8))
            image.load()
            mode = image.mode
        if mode not in _CONVERTIBLE:
            read_rgb(path)
        return path, mode, ""
    except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
        return path, "", reason(error)


def reason(error: BaseException) -> str:
    """Put an error of Pillow's into a few words, without the path.

    Example:
        >>> reason(OSError("image file is truncated"))
        'image file is truncated'
    """
    if type(error).__name__ == "UnidentifiedImageError":
        return "no known image format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def md5_of(path: Path) -> str:
    """Return a file's MD5 in hexadecimal digits.

    Args:
        path: of the file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files below a folder, in the order of folders and names, without hidden ones.

    Args:
        folder: searched with its sub-folders.
    """
    return [
        Path(parent, name)
        for parent, folders, names in sorted(_walk(folder))
        for name in sorted(names)
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]


def shown(path: Path, folder: str | os.PathLike[str]) -> str:
    """Return a path relative to its folder, with forward slashes; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _walk(folder: str | os.PathLike[str]) -> list[tuple[str, list[str], list[str]]]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.append((parent, folders, names))
    return found


class Decoded(NamedTuple):
    """One file.

    Args:
        position: in the list of files.
        image: the model's input; None where the file cannot be read.
        problem: why it cannot be read, in one line; empty where it can.
    """

    position: int
    image: Any
    problem: str = ""


class DecodedImages:
    """The files of a list as model inputs, for a torch DataLoader with or without workers.

    Args:
        paths: of the files.
        model_input: turns a decoded RGB image into the model's input.
    """

    def __init__(self, paths: Sequence[Path], model_input: Callable[[Any], Any]) -> None:
        self.paths, self.model_input = [os.fspath(path) for path in paths], model_input

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Decoded:
        try:
            image = read_rgb(self.paths[position])
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            return Decoded(position, None, reason(error))
        return Decoded(position, self.model_input(image))
