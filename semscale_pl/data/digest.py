"""A dataset's images as one short name, by which what was computed from them can be told apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from semscale_pl.data.augmentations import as_pixels
from semscale_pl.data.checking import used_files
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.packed import state_of


def images_digest(parts: Mapping[str, IndexedDataset]) -> str:
    """Hash the images, labels and class names of the parts of a dataset to 32 hexadecimal digits.

    Of image files the path below their common folder, the size and the time of change stand for the content, so that a
    large dataset need not be read; a dataset that is moved as a whole keeps its name. Images in memory are hashed pixel
    by pixel, and so are those that a source of somebody else's makes when it is asked.
    """
    found = hashlib.blake2b(digest_size=16)
    folder = _folder_of(parts)
    for name, dataset in parts.items():
        found.update(f"{name} {list(dataset.class_names)!r} {len(dataset)}\n".encode("utf-8", "surrogateescape"))
        found.update(dataset.labels.numpy().astype("<i8").tobytes() + dataset.rows.numpy().astype("<i8").tobytes())
        if paths := used_files(dataset):
            for path in paths:
                found.update(os.fsencode(f"{os.path.relpath(path, folder)}\0{state_of(path)}\n"))
        else:
            _add_pixels(found, dataset)
    return found.hexdigest()


def _folder_of(parts: Mapping[str, IndexedDataset]) -> str:
    files = used_files(*parts.values())
    return os.path.commonpath([os.path.abspath(path) for path in files]) if files else ""


def _add_pixels(found: Any, dataset: IndexedDataset) -> None:
    images, rows = dataset.images, dataset.rows
    if isinstance(images, Tensor):
        found.update(f"{images.dtype} {tuple(images.shape)}\n".encode())
        for block in rows.split(4096):
            found.update(images[block].contiguous().numpy().tobytes())
        return
    for row in rows.tolist():
        pixels = as_pixels(images[row])
        found.update(f"{pixels.dtype} {tuple(pixels.shape)}\n".encode() + pixels.contiguous().numpy().tobytes())
