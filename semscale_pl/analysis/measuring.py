"""Measure a dataset: semantic scales, inter-class weights and imbalance of its classes, from features of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.analysis.class_labels import encode_labels
from semscale_pl.analysis.class_statistics import Ruler
from semscale_pl.analysis.class_table import ClassTable
from semscale_pl.analysis.controls import check_controlled, controlled_columns, extras_of, interval_column
from semscale_pl.analysis.feature_source import ArraySource, FeatureSource
from semscale_pl.analysis.measurement import Measurement, Notice
from semscale_pl.analysis.neighbours import nearest_centres
from semscale_pl.analysis.notices import notices_of
from semscale_pl.analysis.preparing import prepared, rms_deviation
from semscale_pl.analysis.tabulating import Progress, class_table
from semscale_pl.geometry import interclass_weights, semantic_scale_imbalance
from semscale_pl.imbalance import effective_numbers, scales_to_weights
from semscale_pl.validation import check_choice, check_unit
from semscale_pl.volumes import Ratio, root_of

FEATURE_NORMS = ("none", "l2", "rms")
# Eigenvalues cost as much as everything else together: left out, unless asked for, where they would take minutes.
_MOST_SPECTRUM_WORK = 1e11
_SPECTRUM = 64


@dataclass(frozen=True)
class Settings:
    """How a dataset is measured.

    Args:
        alpha: of the inter-class weights, at least 1.
        ratio: ``"dim"`` for the paper's d/m, a float r for r/m.
        unit: length of the ruler, in the unit of the features.
        feature_norm: ``l2`` divides every sample's feature by its length; ``rms`` measures in units of the
            root-mean-square deviation of all features from their mean.
        num_features: wider features are averaged down to this many; None keeps them.
        controlled: estimators that depend less on the count, see :mod:`semscale_pl.analysis.estimators`.
        intervals: whether to compute an interval of every scale.
        level: of the intervals.
        spectrum: largest eigenvalues of every class covariance to keep, at most 64; 0 for none; None for 64 unless
            that would take minutes.
        seed: of every random choice.

    Raises:
        ValueError: a value is out of range.
    """

    alpha: float = 1.0
    ratio: Ratio = "dim"
    unit: float = 1.0
    feature_norm: str = "none"
    num_features: int | None = None
    controlled: tuple[str, ...] = ()
    intervals: bool = False
    level: float = 0.95
    spectrum: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.feature_norm, FEATURE_NORMS, "feature_norm")
        check_unit(self.unit)
        root_of(1, self.unit, self.ratio, "plain")
        if not 1.0 <= self.alpha < math.inf:
            raise ValueError(f"Expected `alpha` to be a finite number of at least 1, but got {self.alpha}.")
        check_controlled(self.controlled)
        if not 0.0 < self.level < 1.0:
            raise ValueError(f"Expected `level` to be in (0, 1), but got {self.level}.")
        if self.num_features is not None and self.num_features < 1:
            raise ValueError(f"Expected `num_features` to be at least 1, but got {self.num_features}.")
        if self.spectrum is not None and not 0 <= self.spectrum <= _SPECTRUM:
            raise ValueError(f"Expected `spectrum` to be from 0 to {_SPECTRUM}, but got {self.spectrum}.")


def measure(
    features: Tensor | np.ndarray,
    labels: Tensor | np.ndarray | Sequence[int] | Sequence[str],
    *,
    class_names: Sequence[str] | None = None,
    max_memory: int = 2**30,
    progress: Progress | None = None,
    **settings: Any,
) -> Measurement:
    """Measure features that are in memory.

    Args:
        features: (N, d) finite.
        labels: (N,) whole numbers of at least 0, or words.
        class_names: C names of the classes 0..C-1; classes without a sample may be among them. Without names, the
            classes are the labels that occur, sorted.
        max_memory: bytes for what measuring holds besides the features.
        progress: told after every class how many are done, and of how many.
        **settings: see :class:`Settings`.

    Returns:
        One row a class.

    Raises:
        ValueError: features or labels cannot be measured, or a setting is out of range; one line says why.

    Example:
        >>> measure(np.array([[0.0], [2.0], [7.0]]), ["a", "a", "b"]).scales
        array([0.5, 0. ])

    Reference: Ma et al. (ICLR 2023), section 3.
    """
    numbers, names = _numbered(_array(labels), class_names)
    source = ArraySource(_array(features), numbers, names)
    return measure_source(source, Settings(**settings), max_memory=max_memory, progress=progress)


def measure_source(
    source: FeatureSource,
    settings: Settings | None = None,
    *,
    max_memory: int = 2**30,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure features that need not fit into memory.

    Args:
        source: labelled features.
        settings: how to measure.
        max_memory: bytes for everything held at once.
        threads: classes computed at once; as many as torch has threads unless given.
        progress: told after every class how many are done, and of how many.

    Raises:
        ValueError: a feature is not finite, or memory is too small; one line says why.
    """
    settings = settings or Settings()
    source = prepared(source, settings.num_features, settings.feature_norm == "l2")
    unit = settings.unit * (rms_deviation(source) if settings.feature_norm == "rms" else 1.0)
    root = root_of(source.num_features, unit, settings.ratio, "plain")
    spectrum = _spectrum_size(source) if settings.spectrum is None else settings.spectrum
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    table = class_table(
        source,
        Ruler(root, spectrum, shrunk="oas" in settings.controlled),
        budget=max_memory,
        threads=threads,
        extras=extras_of(settings.controlled, settings.intervals, settings.level, root, counts, settings.seed),
        seed=settings.seed,
        progress=progress,
    )
    used = {**asdict(settings), "unit": unit, "spectrum": spectrum}
    return _measurement(source, table, settings, used)


def _measurement(source: FeatureSource, table: ClassTable, settings: Settings, used: dict[str, Any]) -> Measurement:
    counts, scales = torch.from_numpy(table.counts), torch.from_numpy(table.scales)
    weights, imbalance = _between_classes(table, settings.alpha)
    nearest, distances = nearest_centres(table.means)
    total = int(table.counts.sum())
    ranking = torch.from_numpy(np.where(np.isnan(imbalance), table.scales, imbalance))
    return Measurement(
        class_names=tuple(source.class_names),
        counts=table.counts,
        effective_numbers=effective_numbers(counts, 1.0 - 1.0 / total).numpy(),
        scales=scales.numpy(),
        weights=weights,
        imbalance=imbalance,
        suggested=scales_to_weights(ranking, counts).numpy(),
        controlled=controlled_columns(table, settings.controlled),
        intervals=interval_column(table),
        spectra=table.spectra,
        nearest=nearest,
        distances=distances,
        notices=_notices(source, table),
        source={"name": source.name, "samples": total, "num_features": source.num_features, "settings": used},
    )


def _between_classes(table: ClassTable, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return W and S; both are undefined where there is no second class to be near to."""
    if (table.counts > 0).sum() < 2:
        return np.full_like(table.scales, math.nan), np.full_like(table.scales, math.nan)
    weights = interclass_weights(torch.from_numpy(table.means), alpha)
    return weights.numpy(), semantic_scale_imbalance(torch.from_numpy(table.scales), weights).numpy()


def _notices(source: FeatureSource, table: ClassTable) -> tuple[Notice, ...]:
    found = notices_of(
        table.counts,
        source.num_features,
        source.class_names,
        ranks=table.ranks,
        distinct=table.distinct,
        norms=np.sqrt(np.square(table.means).sum(1) + np.square(table.deviations)),
        deviations=table.deviations,
        feature_deviations=table.feature_deviations,
        constant_features=table.constant_features,
    )
    if not table.sampled:
        return found
    text = (
        "Controlled scales and intervals of classes too large for `max_memory` come from as many of their samples, "
        "chosen at random, as fit."
    )
    return (*found, Notice("sampled", text, tuple(table.sampled)))


def _spectrum_size(source: FeatureSource) -> int:
    sides = np.minimum(np.bincount(source.labels), source.num_features).astype(np.float64)
    return _SPECTRUM if (sides**3).sum() <= _MOST_SPECTRUM_WORK else 0


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _numbered(labels: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers, names = encode_labels(labels)
    if class_names is None:
        return numbers, names
    places = {name: place for place, name in enumerate(map(str, class_names))}
    if labels.dtype.kind not in "SU":
        places = {str(place): place for place in range(len(class_names))}
    unknown = [name for name in names if name not in places]
    if unknown:
        raise ValueError(
            f"Expected every label to be one of the {len(class_names)} classes of `class_names`, but got "
            f"{unknown[0]!r}. Name every class."
        )
    return np.array([places[name] for name in names])[numbers], tuple(map(str, class_names))
