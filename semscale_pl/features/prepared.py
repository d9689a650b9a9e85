"""Features as they are measured: divided by their length, averaged down to fewer dimensions, whole in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.source import FeatureSource
from semscale_pl.geometry import pool_features

MOST_BYTES = 4 * 2**30
_ROWS_AT_ONCE = 4096


class PreparedRows:
    """The rows of a source, normalized and averaged down on their way.

    Args:
        source: with the features as they are.
        num_features: wider features are averaged down to this many; None keeps them.
        unit_length: whether every row is divided by its length first.
    """

    def __init__(self, source: FeatureSource, num_features: int | None, unit_length: bool) -> None:
        self.shape: tuple[int, ...] = (source.num_rows, min(source.num_features, num_features or source.num_features))
        self.dtype = np.dtype(f"f{source.itemsize}")
        self._source, self._unit_length = source, unit_length

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows, see :meth:`semscale_pl.features.source.Rows.rows`."""
        for piece in self._source.rows(wanted, size):
            features = torch.from_numpy(piece)
            if self._unit_length:
                features = torch.nn.functional.normalize(features, dim=1)
            yield pool_features(features, self.shape[1]).numpy()


def prepared(source: FeatureSource, num_features: int | None, unit_length: bool) -> FeatureSource:
    """Return the source as it is measured; itself where nothing has to be done."""
    if not unit_length and (num_features is None or num_features >= source.num_features):
        return source
    rows = PreparedRows(source, num_features, unit_length)
    return FeatureSource(rows, source.labels, source.class_names, source.name, source.taken)


def rms_deviation(source: FeatureSource) -> float:
    """Compute the root-mean-square deviation of a feature from the mean of all rows, in one pass.

    Returns:
        The deviation; 1 where all rows are equal or a feature is not finite, which measuring finds then.
    """
    count, mean, squares = 0, np.zeros(source.num_features), 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for piece in source.rows(np.arange(source.num_rows), _ROWS_AT_ONCE):
            rows = piece.astype(np.float64)
            own = rows.mean(0)
            squares += float(np.square(rows - own).sum())
            shift, total = own - mean, count + len(rows)
            squares += float(np.square(shift).sum()) * count * len(rows) / total
            mean += shift * (len(rows) / total)
            count = total
        deviation = math.sqrt(squares / (count * source.num_features)) if squares >= 0 else math.nan
    return deviation if 0 < deviation < math.inf else 1.0


class LoadedFeatures(NamedTuple):
    """Features (N, d) in float32 or float64, labels (N,) int64 in [0, C), and C names."""

    features: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def load_features(
    source: FeatureSource, *, feature_norm: str = "none", num_features: int | None = None
) -> LoadedFeatures:
    """Read the features of an opened file as a whole.

    Args:
        source: see :func:`semscale_pl.features.opening.open_features`.
        feature_norm: ``none``, ``l2`` (each sample divided by its length) or ``rms`` (all by the root-mean-square
            deviation from their mean).
        num_features: wider features are averaged down to this many.

    Raises:
        ValueError: the file is damaged or too large; one line says why.
    """
    source = prepared(source, num_features, feature_norm == "l2")
    size = source.num_rows * source.num_features * source.itemsize
    if size > MOST_BYTES:
        raise ValueError(
            f"Expected at most {MOST_BYTES / 2**30:g} GiB of features, but {source.name} has {size / 2**30:.1f} GiB. "
            "Take a random part of every class, or set num_features."
        )
    dtype = np.float32 if source.itemsize == 4 else np.float64
    features, start = np.empty((source.num_rows, source.num_features), dtype), 0
    for piece in source.rows(np.arange(source.num_rows), 65536):
        features[start : start + len(piece)] = piece
        start += len(piece)
    if feature_norm == "rms":
        features /= dtype(rms_deviation(source))
    return LoadedFeatures(torch.from_numpy(features), torch.from_numpy(source.labels), tuple(source.class_names))
