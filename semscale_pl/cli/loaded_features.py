"""A file of features as tensors in memory, normalized and averaged down as asked."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MOST_BYTES = 4 * 2**30


class LoadedFeatures(NamedTuple):
    """Labelled features.

    Args:
        features: (N, d) float32 or float64.
        labels: (N,) int64 in [0, C).
        class_names: C names.
    """

    features: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def load_features(
    file: Path,
    labels: Path | None = None,
    *,
    label_column: str | None = None,
    feature_norm: str = "none",
    num_features: int | None = None,
) -> LoadedFeatures:
    """Read a file of features as a whole.

    Args:
        file: .npz, .npy, .pt, .parquet or .csv.
        labels: file of the labels, where they are not in the same one.
        label_column: of a table.
        feature_norm: ``none``, ``l2`` (each sample divided by its length) or ``rms`` (all by the root-mean-square
            deviation from their mean).
        num_features: wider features are averaged down to this many.

    Returns:
        The features.

    Raises:
        ValueError: the file cannot be read as features, or is too large; one line says why.
    """
    from semscale_pl.analysis.preparing import prepared, rms_deviation
    from semscale_pl.data.features.opening import open_features

    source = prepared(open_features(file, labels, label_column), num_features, feature_norm == "l2")
    size = source.num_rows * source.num_features * source.itemsize
    if size > MOST_BYTES:
        raise ValueError(
            f"Expected at most {MOST_BYTES / 2**30:g} GiB of features, but {source.name} has {size / 2**30:.1f} GiB. "
            "Take a random part of every class, or set num_features."
        )
    dtype = np.float32 if source.itemsize == 4 else np.float64
    features, place = np.empty((source.num_rows, source.num_features), dtype), 0
    for piece in source.rows(np.arange(source.num_rows), 65536):
        features[place : place + len(piece)] = piece
        place += len(piece)
    if feature_norm == "rms":
        features /= dtype(rms_deviation(source))
    return LoadedFeatures(torch.from_numpy(features), torch.from_numpy(source.labels), tuple(source.class_names))
