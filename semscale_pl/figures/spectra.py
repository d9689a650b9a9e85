"""Eigenvalue spectra of classes: the chosen ones against what is usual among all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.style import MISSING, PALETTE, finite, head, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What lies further below the largest eigenvalue is round-off of a class of low rank.
_FLOOR = 1e-6


def spectra_against_band(spectra: Any, class_names: Sequence[str], chosen: Sequence[int], *, title: str = "") -> Figure:
    """Draw the spectra of a few classes over the band that 10 to 90 % of all classes fill.

    Args:
        spectra: (C, k) eigenvalues of each class covariance, descending, NaN beyond the last.
        class_names: C names.
        chosen: numbers of the classes to draw as lines.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: the shape does not fit the names, there are no eigenvalues, or a chosen class does not exist.
    """
    values = finite(spectra)
    if values.ndim != 2 or len(values) != len(class_names) or not values.shape[1]:
        raise ValueError(f"Expected `spectra` of shape ({len(class_names)}, k), but got {values.shape}.")
    if not all(0 <= label < len(class_names) for label in chosen):
        raise ValueError(f"Expected `chosen` to be class numbers below {len(class_names)}, but got {list(chosen)}.")
    figure, (ax,) = new_figure(7.0, 3.8)
    floor = _FLOOR * float(np.nanmax(values, initial=0.0))
    ranks = np.arange(1, values.shape[1] + 1)
    present = np.nan_to_num(values[np.isfinite(values).any(1)])
    if len(present):
        low, middle, high = np.quantile(present, [0.1, 0.5, 0.9], axis=0)
        ax.fill_between(ranks, np.maximum(low, floor), np.maximum(high, floor), color=MISSING, label="10 to 90 %")
        ax.plot(ranks, _above(middle, floor), color="#555555", linestyle="--", linewidth=1.2, label="median")
    for place, label in enumerate(chosen):
        colour = PALETTE[place % len(PALETTE)]
        name = plain(class_names[label])
        ax.plot(ranks, _above(values[label], floor), color=colour, marker="o", markersize=2.5, label=name)
    if floor > 0:
        ax.set_yscale("log")
    ax.set_xlabel("direction, by its variance", fontsize=9)
    ax.set_ylabel("eigenvalue", fontsize=9)
    figure.legend(fontsize=8, frameon=False, loc="outside right center")
    head(figure, title)
    return figure


def _above(values: np.ndarray, floor: float) -> np.ndarray:
    return np.where(values > floor, values, np.nan)
