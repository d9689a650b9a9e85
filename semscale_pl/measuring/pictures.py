"""The pictures of a measurement: S' of every class against its count, and the spectra of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures.per_class import draw_bars
from semscale_pl.figures.radar import radar_panels
from semscale_pl.figures.style import (
    MISSING,
    PALETTE,
    empty_figure,
    entry,
    finite,
    label_classes,
    logarithmic,
    new_figure,
    note_in_place,
    plain,
    reaches,
    save_figure,
    tidy,
)
from semscale_pl.measuring.measurement import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# A radar plot and named bars of more classes than this are a blot; the report shows them all.
MOST_AXES, MOST_SPECTRA = 200, 8
MOST_LABELS = 25
# More whiskers than this would be a fringe on the bars.
MOST_WHISKERS = 200
# What lies further below the largest eigenvalue is round-off of a class of low rank.
_FLOOR = 1e-6


def save_pictures(measurement: Measurement, folder: Path) -> None:
    """Save S' against n (`scale_against_count.png`), `radar.png` of 3 to 200 classes, and `spectra.png` of few."""
    names = measurement.class_names
    counts = scale_against_count(names, measurement.counts, measurement.scales, intervals=measurement.intervals)
    save_figure(counts, folder / "scale_against_count.png")
    defined = np.isfinite(measurement.imbalance)
    if 3 <= defined.sum() <= MOST_AXES:
        panel = {
            "title": str(measurement.source["name"]),
            "classes": [name for name, kept in zip(names, defined, strict=True) if kept],
            "counts": measurement.counts[defined],
            "scales": measurement.scales[defined],
            "imbalance": measurement.imbalance[defined],
        }
        save_figure(radar_panels([panel]), folder / "radar.png")
    chosen = [label for label in measurement.order() if measurement.counts[label] > 1]
    if measurement.spectra.shape[1] and chosen:
        half = MOST_SPECTRA // 2
        shown = chosen if len(chosen) <= MOST_SPECTRA else chosen[:half] + chosen[-half:]
        save_figure(spectra_against_band(measurement.spectra, names, shown), folder / "spectra.png")


def scale_against_count(class_names: Sequence[str], counts: Any, scales: Any, *, intervals: Any = None) -> Figure:
    """Draw S' over n as points on the left, and bars of S' and n on the right, the largest class first.

    Args:
        class_names: C names.
        counts: (C,) samples n.
        scales: (C,) semantic scales S' in bits; None or NaN is left out.
        intervals: (C, 2) interval of every S', or None.

    Raises:
        ValueError: there is no class, or another number of values than names.
    """
    number, bits = finite(counts), finite(scales)
    wanted = (len(class_names),)
    if number.shape != wanted or bits.shape != wanted or not len(class_names):
        raise ValueError(f"Expected {len(class_names)} counts and scales, but got {number.shape} and {bits.shape}.")
    ends = None if intervals is None else finite(intervals)
    if ends is not None and ends.shape != (*wanted, 2):
        raise ValueError(f"Expected `intervals` of shape {(*wanted, 2)}, but got {ends.shape}.")
    figure = empty_figure(10.5, 4.0)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.0, 1.4])
    _draw_points(tidy(figure.add_subplot(grid[:, 0])), class_names, number, bits, ends)
    order = np.argsort(-number, kind="stable")
    upper = tidy(figure.add_subplot(grid[0, 1]))
    lower = tidy(figure.add_subplot(grid[1, 1], sharex=upper))
    draw_bars(upper, bits[order], len(order), PALETTE[0])
    if ends is not None and len(order) <= MOST_WHISKERS:
        errors = reaches(bits, *ends.T)[:, order]
        upper.errorbar(np.arange(len(order)), bits[order], yerr=errors, fmt="none", ecolor="black")
    draw_bars(lower, number[order], len(order), "#999999")
    logarithmic(lower)
    upper.set_ylabel("S' (bits)", fontsize=9)
    lower.set_ylabel("samples n", fontsize=9)
    upper.tick_params(labelbottom=False)
    label_classes(lower, [class_names[label] for label in order])
    return figure


def _draw_points(
    ax: Axes, names: Sequence[str], counts: np.ndarray, scales: np.ndarray, ends: np.ndarray | None
) -> None:
    shown = np.flatnonzero((counts > 0) & np.isfinite(scales))
    errors = None if ends is None else reaches(scales, *ends.T)[:, shown]
    size = 5 if len(shown) <= 200 else 2.5
    ax.errorbar(
        counts[shown], scales[shown], yerr=errors, fmt="o", markersize=size, color=PALETTE[0], ecolor="#777777",
        elinewidth=1.0, alpha=0.85,
    )  # fmt: skip
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("samples n", fontsize=9)
    ax.set_ylabel("S' (bits)", fontsize=9)
    if len(shown) < 2 or len(np.unique(counts[shown])) == 1:
        why = f"all {len(shown)} classes have n = {counts[shown[0]]:,.0f}" if len(shown) > 1 else "one class alone"
        note_in_place(ax, f"No relation to show:\n{why if len(shown) else 'no class has a scale'}.")
        return
    ax.set_xscale("log")
    if len(shown) <= MOST_LABELS:
        together: dict[tuple[float, float], list[str]] = {}
        for label in shown.tolist():
            together.setdefault((counts[label], scales[label]), []).append(plain(names[label]))
        for point, found in together.items():
            ax.annotate(", ".join(found), point, (5, 3), textcoords="offset points", fontsize=8)
    ax.set_ylim(bottom=0.0)


def spectra_against_band(spectra: Any, class_names: Sequence[str], chosen: Sequence[int]) -> Figure:
    """Draw the spectra of a few classes over the band that 10 to 90 % of all classes fill.

    Args:
        spectra: (C, k) eigenvalues of each class covariance, descending, NaN beyond the last.
        class_names: C names.
        chosen: numbers of the classes to draw as lines.

    Raises:
        ValueError: the shape does not fit the names, there are no eigenvalues, or a chosen class does not exist.
    """
    values = finite(spectra)
    if values.ndim != 2 or len(values) != len(class_names) or not values.shape[1]:
        raise ValueError(f"Expected `spectra` of shape ({len(class_names)}, k), but got {values.shape}.")
    if not all(0 <= label < len(class_names) for label in chosen):
        raise ValueError(f"Expected `chosen` to be class numbers below {len(class_names)}, but got {list(chosen)}.")
    figure, (ax,) = new_figure(7.0, 3.8)
    ax.locator_params("x", integer=True)
    floor = _FLOOR * float(np.nanmax(values, initial=0.0))
    ranks = np.arange(1, values.shape[1] + 1)
    present = np.nan_to_num(values[np.isfinite(values).any(1)])
    if len(present):
        low, middle, high = np.quantile(present, [0.1, 0.5, 0.9], axis=0)
        ax.fill_between(ranks, np.maximum(low, floor), np.maximum(high, floor), color=MISSING, label="10 to 90 %")
        ax.plot(ranks, _above(middle, floor), color="#555555", linestyle="--", linewidth=1.2, label="median")
    for number, label in enumerate(chosen):
        colour = PALETTE[number % len(PALETTE)]
        name = entry(class_names[label])
        ax.plot(ranks, _above(values[label], floor), color=colour, marker="o", markersize=2.5, label=name)
    if values.shape[1] == 1 or np.isfinite(values).sum(1).max() <= 1:
        note_in_place(ax, "No class varies in more\nthan one direction.")
    if floor > 0:
        ax.set_yscale("log")
    ax.set_xlabel("direction, by its variance", fontsize=9)
    ax.set_ylabel("eigenvalue", fontsize=9)
    figure.legend(fontsize=8, frameon=False, loc="outside right center")
    return figure


def _above(values: np.ndarray, floor: float) -> np.ndarray:
    return np.where(values > floor, values, np.nan)
