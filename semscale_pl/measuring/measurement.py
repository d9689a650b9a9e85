"""The result of measuring a dataset: one row a class, and what is worth a warning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from semscale_pl.files import strict
from semscale_pl.measuring.samples import Samples

# Estimator of a scale that depends less on the count, to its head in tables and its meaning.
CONTROLLED = {
    "matched": ("S' matched", "S' with every class cut to the same number of samples, mean over repeated draws (bits)"),
    "oas": ("S' OAS", "S' of the covariance shrunk by OAS, which depends less on n (bits)"),
    "ledoit_wolf": ("S' Ledoit-Wolf", "S' of the covariance shrunk by Ledoit and Wolf's rule, less bound to n (bits)"),
    "extrapolated": ("S' extrapolated", "S' extrapolated to many samples of the class (bits)"),
}


class Column(NamedTuple):
    """One number of every class, as tables name and show it."""

    key: str  # for programs, as in the report
    name: str  # in scales.csv
    head: str  # over a printed column
    meaning: str
    digits: int  # decimals where it is printed
    values: np.ndarray  # (C,), NaN where undefined


class Notice(NamedTuple):
    """One warning in words."""

    code: str  # what kind of warning, such as few_samples; stable, for programs
    text: str  # one sentence for people
    classes: tuple[int, ...] = ()  # numbers of the classes that it is about; none where it is about all of them


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The semantic scales of a dataset and what goes with them; rows are classes, in the order of the class numbers.

    Args:
        class_names: C names.
        counts: (C,) int64 samples, n.
        effective_numbers: (C,) effective numbers of samples E_n.
        scales: (C,) semantic scales S' in bits; NaN where undefined.
        weights: (C,) inter-class weights W; NaN where undefined.
        imbalance: (C,) semantic scale imbalance S; NaN where undefined.
        suggested: (C,) class weights that follow from S, of mean 1 over the samples.
        controlled: estimator (``matched``, ``oas``, ``ledoit_wolf``, ``extrapolated``) to (C,) bits that depend less
            on the count.
        intervals: (C, 2) interval of every S' in bits, or None where none was asked for.
        spectra: (C, k) largest eigenvalues of every class covariance, descending, NaN beyond the last; k <= 64.
        nearest: (C, j) int64 numbers of the classes with the nearest centres, nearest first, -1 beyond the last.
        distances: (C, j) distances to those centres, in the unit of the features; NaN beyond the last.
        notices: warnings in words.
        source: where the features came from and how they were measured, as plain values.
        samples: which samples are worth looking at; None where nobody asked.

    Raises:
        ValueError: an array has another number of rows than there are classes.

    Reference: Ma et al. (ICLR 2023), section 3.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    effective_numbers: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    imbalance: np.ndarray
    suggested: np.ndarray
    controlled: dict[str, np.ndarray] = field(default_factory=dict)
    intervals: np.ndarray | None = None
    spectra: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray
    notices: tuple[Notice, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    samples: Samples | None = None

    def __post_init__(self) -> None:
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays.update((f"controlled[{key!r}]", values) for key, values in self.controlled.items())
        for name, array in arrays.items():
            if len(array) != self.num_classes:
                raise ValueError(f"Expected `{name}` to have {self.num_classes} rows, but got {len(array)}.")

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    def order(self) -> list[int]:
        """Return the class numbers by ascending S, then by S'; classes where neither is defined come last."""
        keys = [np.where(np.isnan(values), math.inf, values) for values in (self.imbalance, self.scales)]
        return [int(label) for label in np.lexsort((np.arange(self.num_classes), keys[1], keys[0]))]

    def columns(self) -> list[Column]:
        """Return the numbers of every class in the order in which tables show them."""
        volume = "semantic scale: volume that the class's features span (bits)"
        found = [
            Column("count", "n", "n", "samples of the class", 0, self.counts),
            Column("effective", "effective_number", "E_n", "effective number of samples", 1, self.effective_numbers),
            Column("scale", "scale_bits", "S' (bits)", volume, 2, self.scales),
        ]
        if self.intervals is not None:
            low, high = self.intervals.T
            found.append(Column("low", "scale_bits_low", "S' low", "lower end of the interval of S' (bits)", 2, low))
            found.append(Column("high", "scale_bits_high", "S' high", "upper end of the interval (bits)", 2, high))
        for key, values in self.controlled.items():
            head, meaning = CONTROLLED.get(key, (f"S' {key}", f"S' by the estimator {key} (bits)"))
            found.append(Column(key, f"scale_bits_{key}", head, meaning, 2, values))
        weight = "inter-class weight: 1 for the class farthest from the others"
        return [
            *found,
            Column("weight", "interclass_weight", "W", weight, 3, self.weights),
            Column("imbalance", "imbalance", "S", "semantic scale imbalance: S' / max S' times W", 3, self.imbalance),
            Column("suggested", "suggested_weight", "weight", "suggested class weight for training", 2, self.suggested),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that strict JSON can hold: what is undefined is None.

        Example:
            >>> from semscale_pl import measure
            >>> measure(np.array([[0.0], [2.0]]), ["a", "a"]).as_dict()["imbalance"]
            [None]
        """
        samples = None if self.samples is None else vars(self.samples)
        return dict(strict({**vars(self), "samples": samples}))
