"""A folder of images by class, all of it, without splits."""

from __future__ import annotations

from pathlib import Path

import torch

from semscale_pl.data.files import ImageFiles, image_paths
from semscale_pl.data.source import DataError, ImageSet


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
