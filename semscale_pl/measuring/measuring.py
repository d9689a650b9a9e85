"""Measure a dataset: semantic scales, inter-class weights and imbalance of its classes, from features of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.columns import named_unlike_features
from semscale_pl.features.prepared import prepared, rms_deviation
from semscale_pl.features.source import ArraySource, FeatureSource
from semscale_pl.geometry import ClassGeometry
from semscale_pl.geometry.volumes import Ratio, num_lines, scale_factor
from semscale_pl.imbalance import effective_numbers, scales_to_weights
from semscale_pl.labels import composed, encode_labels, label_array
from semscale_pl.measuring.estimators import ledoit_wolf_scale, matched_scale, matched_size
from semscale_pl.measuring.extrapolation import extrapolation
from semscale_pl.measuring.intervals import scale_interval
from semscale_pl.measuring.kernel import ClassSettings
from semscale_pl.measuring.measurement import Measurement, Notice
from semscale_pl.measuring.notices import notices_of
from semscale_pl.measuring.samples import SampleFinder
from semscale_pl.measuring.table import ClassTable, Extra, Progress, class_table
from semscale_pl.options import MOST_EIGENVALUES, check
from semscale_pl.seeding import derive_seed
from semscale_pl.validation import check_dense

NEIGHBOURS = 5
# Candidates more than asked for, of which the nearest are chosen by their exact distances.
_SPARE = 8
# Eigenvalues cost as much as everything else together: left out, unless asked for, where they would take minutes.
_MOST_SPECTRUM_WORK = 1e11
_INTERVAL = "interval"


@dataclass(frozen=True)
class Settings:
    """How a dataset is measured.

    Args:
        alpha: of the inter-class weights, at least 1.
        ratio: ``"dim"`` for the paper's d/m, a float r for r/m.
        unit: length that counts as 1, in the unit of the features.
        feature_norm: ``l2`` divides every sample's feature by its length; ``rms`` measures in units of the
            root-mean-square deviation of all features from their mean.
        num_features: wider features are averaged down to this many; None keeps them.
        controlled: estimators that depend less on the count, see :mod:`semscale_pl.measuring.estimators`.
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
        for name in self.controlled:
            check(controlled=name)
        check("measure", **{key: value for key, value in vars(self).items() if key != "controlled"})


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
        features: (N, d) finite; of a data frame every column, none of which may be named like an index or a flag.
        labels: (N,) whole numbers of at least 0, or words.
        class_names: C names of the classes 0..C-1; classes without a sample may be among them. Without names, the
            classes are the labels that occur, sorted.
        max_memory: bytes for what measuring holds besides the features.
        progress: called after every class with how many are done, and of how many.
        **settings: see :class:`Settings`.

    Returns:
        One row a class.

    Raises:
        TypeError: there is no such setting.
        ValueError: features or labels cannot be measured, or a setting is out of range; one line says why.

    Example:
        >>> measure(np.array([[0.0], [2.0], [7.0]]), ["a", "a", "b"]).scales
        array([0.5, 0. ])

    Reference: Ma et al. (ICLR 2023), section 3.
    """
    known = [setting.name for setting in fields(Settings)]
    for name in settings:
        if name not in known:
            raise TypeError(f"Expected settings among {', '.join(known)}, but got `{name}`.")
    numbers, names = _numbered(label_array(labels), class_names)
    source = ArraySource(_array(features), numbers, names)
    return measure_source(source, Settings(**settings), max_memory=max_memory, progress=progress)


def measure_source(
    source: FeatureSource,
    settings: Settings | None = None,
    *,
    max_memory: int = 2**30,
    threads: int | None = None,
    progress: Progress | None = None,
    samples: int = 0,
) -> Measurement:
    """Measure features that need not fit into memory, see :func:`measure`.

    Args:
        source: labelled features.
        settings: how to measure.
        max_memory: bytes for everything held at once.
        threads: classes computed at once; as many as torch has threads unless given.
        progress: see :func:`measure`.
        samples: typical and distant samples to name of each class, and whether to look for pairs nearly equal; 0 for
            neither.

    Raises:
        ValueError: a feature is not finite, or memory is too small; one line says why.
    """
    settings = settings or Settings()
    source = prepared(source, settings.num_features, settings.feature_norm == "l2")
    unit = settings.unit * (rms_deviation(source) if settings.feature_norm == "rms" else 1.0)
    factor = scale_factor(source.num_features, unit, settings.ratio, "plain")
    spectrum = _spectrum_size(source) if settings.spectrum is None else settings.spectrum
    finder = SampleFinder(source, samples, derive_seed(settings.seed, 1), max(0, max_memory) // 8) if samples else None
    table = class_table(
        source,
        ClassSettings(factor, spectrum, shrunk="oas" in settings.controlled),
        budget=max_memory - (finder.held if finder else 0),
        threads=threads,
        extras=_extras(settings, factor, source.counts),
        seed=settings.seed,
        progress=progress,
        watcher=finder.see if finder else None,
    )
    used = {**asdict(settings), "unit": unit, "spectrum": spectrum}
    found = _measurement(source, table, settings, used)
    return replace(found, samples=finder.found(table.spread)) if finder else found


def nearest_centres(centres: np.ndarray, size: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centres of every class, at most ``size``; rows of ``centres`` (C, d) are NaN for absent classes.

    Returns:
        (C, j) int64 class numbers, nearest first, -1 beyond the last; and (C, j) distances, NaN there. j is ``size``,
        or less where there are fewer classes.

    Example:
        >>> nearest_centres(np.array([[0.0], [1.0], [4.0]]))[0]
        array([[1, 2],
               [0, 2],
               [1, 0]])
    """
    shape = (len(centres), min(size, max(0, len(centres) - 1)))
    numbers, distances = np.full(shape, -1), np.full(shape, math.nan)
    present = np.flatnonzero(~np.isnan(centres).any(1))
    found = min(shape[1], len(present) - 1)
    if found < 1:
        return numbers, distances
    known = torch.from_numpy(centres[present])
    candidates = min(found + _SPARE, len(known) - 1)
    size = num_lines(max(len(known), candidates * known.shape[1]))
    shifted = known - known.mean(0)
    squares = shifted.square().sum(1)
    for start in range(0, len(known), size):
        block = slice(start, start + size)
        # This expansion is fast, but of two nearly equal centres it leaves no digits: it only picks the candidates.
        rough = squares - 2.0 * shifted[block] @ shifted.T
        rows = torch.arange(len(rough))
        rough[rows, rows + start] = math.inf
        near = rough.topk(candidates, largest=False).indices.sort(dim=1).values
        lengths = (known[near] - known[block, None]).norm(dim=2)
        smallest = lengths.sort(dim=1, stable=True)
        labels = present[block]
        numbers[labels, :found] = present[near.gather(1, smallest.indices[:, :found]).numpy()]
        distances[labels, :found] = smallest.values[:, :found].numpy()
    return numbers, distances


def _extras(settings: Settings, factor: float, counts: np.ndarray) -> dict[str, Extra]:
    """Return what to compute from the rows of each class; OAS is left out, since the scatter matrix gives it.

    The estimators know the paper's ratio d/m and a unit of 1; rows times sqrt(ratio/d) / unit = factor/sqrt(d) give the
    scales of any other ratio and unit. The counts (C,) of all classes fix the size of matched subsets.
    """
    seed = derive_seed(settings.seed, 0)
    matched = "matched" in settings.controlled and (counts > 1).any()
    size = matched_size(counts.tolist()) if matched else 2
    functions: dict[str, Extra] = {
        "matched": lambda rows: matched_scale(rows, size, seed=seed),
        "ledoit_wolf": ledoit_wolf_scale,
        "extrapolated": lambda rows: extrapolation(rows, seed=seed).bits,
        _INTERVAL: lambda rows: scale_interval(rows, level=settings.level, seed=seed),
    }

    def rescaled(function: Extra) -> Extra:
        return lambda rows: function(rows.double() * (factor / math.sqrt(rows.shape[1])))

    wanted = [name for name in settings.controlled if name != "oas"] + [_INTERVAL] * settings.intervals
    return {name: rescaled(functions[name]) for name in wanted}


def _measurement(source: FeatureSource, table: ClassTable, settings: Settings, used: dict[str, Any]) -> Measurement:
    counts = torch.from_numpy(table.counts)
    weights, imbalance = _between_classes(table, settings.alpha)
    nearest, distances = nearest_centres(table.means)
    total, pairs = int(table.counts.sum()), table.extras.get(_INTERVAL)  # an absent class has one NaN for its pair
    ranking = torch.from_numpy(np.where(np.isnan(imbalance), table.scales, imbalance))
    return Measurement(
        class_names=tuple(source.class_names),
        counts=table.counts,
        effective_numbers=effective_numbers(counts, 1.0 - 1.0 / total).numpy(),
        scales=table.scales,
        weights=weights,
        imbalance=imbalance,
        suggested=scales_to_weights(ranking, counts).numpy(),
        controlled={
            name: table.shrunk if name == "oas" else np.array(table.extras[name], np.float64)
            for name in settings.controlled
        },
        intervals=None if pairs is None else np.array([np.broadcast_to(pair, 2) for pair in pairs], np.float64),
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
    found = ClassGeometry.of(table.counts, table.scales, table.means, alpha)
    return found.interclass_weights.numpy(), found.imbalance.numpy()


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
    sides = np.minimum(source.counts, source.num_features).astype(np.float64)
    return MOST_EIGENVALUES if (sides**3).sum() <= _MOST_SPECTRUM_WORK else 0


def _array(values: Any) -> np.ndarray:
    check_dense(values, "features")
    if hasattr(values, "columns"):
        _check_columns([str(name) for name in values.columns])
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _check_columns(names: list[str]) -> None:
    """Refuse a data frame with a column that is no feature by its name, as a file with it would be."""
    for name, reason in named_unlike_features(names).items():
        raise ValueError(
            f"Expected only columns of features, but `{name}` {reason}. Drop it: .drop(columns=[{name!r}])."
        )


def _numbered(labels: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers, names = encode_labels(labels)
    if class_names is None:
        return numbers, names
    written = class_names if labels.dtype.kind == "U" else range(len(class_names))
    number_of = {composed(str(name)): number for number, name in enumerate(written)}
    unknown = [name for name in names if name not in number_of]
    if unknown:
        raise ValueError(
            f"Expected every label to be one of the {len(class_names)} classes of `class_names`, but got "
            f"{unknown[0]!r}. Name every class."
        )
    return np.array([number_of[name] for name in names])[numbers], tuple(map(str, class_names))
