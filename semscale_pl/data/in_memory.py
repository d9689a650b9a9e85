"""Which images are kept in memory as one tensor, so that a batch is an index; image files are decoded once for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from semscale_pl.data.errors import DataError
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.progress import Progress

# "auto" where it can be and fits, True or False.
InMemory = bool | Literal["auto"]
# Bytes of the images of one part (training, validation or test) that "auto" decodes, or copies to a GPU.
LARGEST = 2**30
_CURE = "Set dataset.in_memory=auto or false."


def reason_against(dataset: IndexedDataset) -> str:
    """Say why images cannot be kept in memory such that every batch stays what it is; nothing where they can.

    Those of other people's datasets are asked for each time, as each time may give another image.
    """
    if not dataset.works_on_batches:
        return "their augmentation takes one image at a time"
    if not isinstance(dataset.images, Tensor) and getattr(dataset.images, "paths", None) is None:
        return "they come one by one from a dataset that may change them each time"
    return ""


def check_can_be_kept(*datasets: IndexedDataset | None) -> None:
    """Raise ValueError where :func:`reason_against` has one for any of the datasets."""
    reason = next((said for data in datasets if data is not None and (said := reason_against(data))), "")
    if reason:
        raise ValueError(f"Expected images that can be kept in memory with in_memory=true, but {reason}. {_CURE}")


def keep_in_memory(dataset: IndexedDataset, wish: InMemory, device: torch.device) -> bool:
    """Keep a dataset's images in memory where that is wished for and can be; return whether batches are made there.

    Every process keeps its own copy, of the rows in use. On the CPU, images that are a tensor already stay where they
    are.

    Args:
        dataset: of one part.
        wish: "auto" also asks that image files decode to no more than :data:`LARGEST` bytes.
        device: where training runs; images of more bytes stay on the CPU with "auto".

    Raises:
        DataError: the images differ in size, and ``wish`` is True.
    """
    if wish is False or reason_against(dataset):
        return False
    if not dataset.in_one_tensor:
        images = _decoded(dataset, whatever=wish is True)
        if images is None:
            return False
        dataset.keep(torch.device("cpu"), images)
    on_device = device.type == "cuda" and (wish is True or _bytes_of(dataset) <= LARGEST)
    dataset.keep(device if on_device else torch.device("cpu"))
    return True


def _bytes_of(dataset: IndexedDataset) -> int:
    return dataset.entering(int(dataset.rows[0])).nbytes * len(dataset)


def _decoded(dataset: IndexedDataset, whatever: bool) -> Tensor | None:
    """Decode all files to one tensor; None where they differ in size or are too many, unless ``whatever``."""
    if not whatever and _bytes_of(dataset) > LARGEST:
        return None
    first = dataset.entering(int(dataset.rows[0]))
    images = torch.empty((len(dataset), *first.shape), dtype=first.dtype)
    progress = Progress("semscale: read {} images into memory", quiet=3.0)
    for place, image in enumerate(progress.over(_read(dataset), len(dataset))):
        if image.shape != first.shape:
            if not whatever:
                return None
            paths = dataset.images.paths  # type: ignore[union-attr]
            raise DataError(
                f"Expected images of one size with in_memory=true, but {paths[int(dataset.rows[0])]} has "
                f"{tuple(first.shape[-2:])} pixels and {paths[int(dataset.rows[place])]} has "
                f"{tuple(image.shape[-2:])}. {_CURE}"
            )
        images[place] = image
    return images


def _read(dataset: IndexedDataset) -> Iterator[Tensor]:
    """Read images in threads, a few at a time, in order."""
    waiting = iter(dataset.rows.tolist())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, 256)):
            yield from pool.map(dataset.entering, chunk)
