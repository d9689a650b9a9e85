"""Features of images: what a function makes of each batch, kept in memory or in a file that need not fit into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.arrays import MappedRows
from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.features.source import FeatureSource

# Images (B, channels, height, width) to features (B, ...), which are flattened.
Extract = Callable[[Tensor], Tensor]
Batches = Iterable[Sequence[Tensor]]
Progress = Callable[[int, int], None]


def load_extracted(
    batches: Batches, extract: Extract, class_names: Sequence[str], total: int, progress: Progress | None = None
) -> LoadedFeatures:
    """Hold the features of all images in memory, in float32.

    Args:
        batches: of images, labels (B,) and anything else.
        extract: images to features.
        class_names: C names.
        total: number of images, for the progress.
        progress: called after each batch with how many images are done, and of how many.
    """
    features, labels = zip(*_extracted(batches, extract, total, progress), strict=True)
    return LoadedFeatures(torch.cat(features), torch.cat(labels).long(), tuple(class_names))


def store_extracted(
    batches: Batches,
    extract: Extract,
    class_names: Sequence[str],
    total: int,
    path: Path,
    name: str,
    progress: Progress | None = None,
) -> FeatureSource:
    """Write the features of all images to a file of float32 numbers, a batch in memory at a time.

    Args:
        batches, extract, class_names, total, progress: see :func:`load_extracted`.
        path: of the new file.
        name: of the images, for messages.
    """
    labels, dim = [], 0
    with path.open("wb") as file:
        for features, classes in _extracted(batches, extract, total, progress):
            file.write(features.contiguous().numpy().tobytes())
            labels.append(classes.numpy())
            dim = features.shape[1]
    numbers = np.concatenate(labels)
    rows = MappedRows(path, (len(numbers), dim), np.dtype(np.float32), 0, name=name)
    return FeatureSource(rows, numbers, tuple(class_names), name)


def _extracted(
    batches: Batches, extract: Extract, total: int, progress: Progress | None
) -> Iterator[tuple[Tensor, Tensor]]:
    done = 0
    for images, labels, *_ in batches:
        with torch.no_grad():
            features = extract(images).float().flatten(1)
        yield features, labels
        done += len(labels)
        if progress is not None:
            progress(done, total)
