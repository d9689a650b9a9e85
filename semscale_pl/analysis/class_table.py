"""The numbers of all classes of a source, a row for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from semscale_pl.analysis.class_statistics import ClassStatistics
from semscale_pl.analysis.feature_source import FeatureSource


@dataclass
class ClassTable:
    """Numbers by class; NaN (or -1) where a class is absent.

    Args:
        counts: (C,) int64.
        means: (C, d).
        scales: (C,) bits.
        shrunk: (C,) bits with OAS, NaN where not asked for.
        spectra: (C, k), NaN-padded.
        ranks: (C,) int64, -1 where not computed.
        distinct: (C,) int64 samples that differ, -1 where not compared.
        deviations: (C,) root of the summed variances.
        within: (d,) sum of the squared deviations of each feature from its class mean.
        extras: what was asked for besides, (C,) or (C, ...) each.
        sampled: classes of which the extras saw a random part only.
    """

    counts: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    shrunk: np.ndarray
    spectra: np.ndarray
    ranks: np.ndarray
    distinct: np.ndarray
    deviations: np.ndarray
    within: np.ndarray
    extras: dict[str, list[float | Sequence[float]]] = field(default_factory=dict)
    sampled: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, source: FeatureSource, spectrum: int, extras: Iterable[str]) -> ClassTable:
        """Make a table without numbers, with room for so many eigenvalues and what else is named."""
        size, dim = len(source.class_names), source.num_features
        counts = np.bincount(source.labels, minlength=size)
        width = min(spectrum, dim, max(1, int(counts.max())))
        nans = [np.full(size, math.nan) for _ in range(3)]
        return cls(
            counts,
            np.full((size, dim), math.nan),
            nans[0],
            nans[1],
            np.full((size, width), math.nan),
            np.full(size, -1),
            np.full(size, -1),
            nans[2],
            np.zeros(dim),
            {name: [math.nan] * size for name in extras},
        )

    @property
    def constant_features(self) -> np.ndarray:
        """Numbers of the features that have one value in all samples."""
        present = self.means[self.counts > 0]
        return np.flatnonzero((self.within == 0) & (present == present[0]).all(0))

    @property
    def feature_deviations(self) -> np.ndarray:
        """Standard deviation of each feature within the classes, (d,)."""
        return np.sqrt(self.within / max(1, self.counts.sum()))

    def put(self, label: int, found: ClassStatistics) -> None:
        """Enter the numbers of a class."""
        self.means[label], self.scales[label], self.shrunk[label] = found.mean, found.bits, found.shrunk_bits
        kept = found.eigenvalues[: self.spectra.shape[1]]
        self.spectra[label, : len(kept)] = kept
        self.ranks[label], self.distinct[label] = found.rank, found.distinct
        self.deviations[label] = math.sqrt(found.variances.sum())
        self.within += found.variances * found.count
