"""What must hold of a dataset before training starts: cheap checks that open no image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import torch

from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet


def check_splits(splits: Mapping[str, ImageSet | None], files: bool = True) -> None:
    """Check that every class can be learnt, no test image is trained on, all files are there, and there is a choice.

    Args:
        splits: "train", "test" and perhaps "val".
        files: whether to look for them.

    Raises:
        DataError: a class without training images, an image in a training and an evaluation split, or only one class.
        DatasetNotFound: files that are named but absent.
    """
    present = {split: images for split, images in splits.items() if images is not None}
    check_classes(present["train"])
    for split in ("val", "test"):
        if split in present:
            check_disjoint(present["train"], present[split], split)
    for images in present.values() if files else ():
        check_files(images)
    check_several_classes(present["train"])


def check_classes(train: ImageSet) -> None:
    """Raise DataError where a class has no training images.

    Args:
        train: the training split, before any long tail is cut.
    """
    empty = torch.nonzero(train.class_counts == 0).flatten().tolist()
    if empty:
        shown = ", ".join(train.class_names[label] for label in empty[:3])
        raise DataError(
            f"Expected every class to have training images, but {len(empty)} of {len(train.class_names)} have none "
            f"({shown}). Add images, or remove the classes."
        )


def check_several_classes(train: ImageSet) -> None:
    """Raise DataError where there is only one class: a classifier of it is always right and learns nothing.

    Args:
        train: the training split.
    """
    if len(train.class_names) < 2:
        raise DataError(
            f"Expected at least two classes, but got {', '.join(train.class_names)} alone. Look whether the folder is "
            "the one that holds the classes, or whether the list has all of them."
        )


def check_disjoint(train: ImageSet, other: ImageSet, split: str) -> None:
    """Raise DataError where a file is in both splits; images in memory have no names and are not compared.

    Args:
        train: the training split.
        other: the split that must not share images with it.
        split: name of the other one.
    """
    shared = sorted(set(paths_of(train)) & set(paths_of(other)))
    if shared:
        raise DataError(
            f"Expected train and {split} to share no image, but {len(shared)} are in both, for example {shared[0]}. "
            "Take them out of one of them."
        )


def check_files(images: ImageSet) -> None:
    """Raise DatasetNotFound where image files are absent, with their number and the first one.

    Args:
        images: of any split.
    """
    missing = missing_files(paths_of(images))
    if missing:
        raise DatasetNotFound(
            f"{len(missing)} of {len(images.labels)} images were not found, the first is {missing[0]}. Complete the "
            "dataset; `semscale data verify` lists them."
        )


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return the paths at which there is nothing; each folder is read once, no file is opened.

    Args:
        paths: of files.
    """
    folders: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in folders[folder]:
            missing.append(path)
    return missing


def paths_of(images: ImageSet) -> list[str]:
    """Return the files of the images, none where they are in memory.

    Args:
        images: of any split.
    """
    return list(getattr(images.images, "paths", ()))
