"""The marginal effect of samples: nested sub-datasets, the sum of their classes' S', and the models they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale_pl.figures.style import PALETTE, finite, new_figure
from semscale_pl.imbalance import effective_numbers
from semscale_pl.statistics import Interval, PairedDifference, mean_interval, paired_difference, pearson, spearman
from semscale_pl.studies.running import Report, trained

# What is drawn of each curve: label, colour, marker.
_SERIES = {"scales": ("sum of S'", PALETTE[0], "o"), "accuracy": ("top-1 accuracy", PALETTE[1], "s")}
_GREYS = ("#BBBBBB", "#888888", "#444444", "#000000")


class Saturation(NamedTuple):
    """Samples a class at which a curve has come up to its share, over several seeds.

    Args:
        point: geometric mean of the seeds' points; None where a seed has none.
        low: of the Student interval of the logarithms; None for fewer than two seeds.
        high: of the same.
        points: of each seed.
    """

    point: float | None
    low: float | None
    high: float | None
    points: tuple[float | None, ...]


def geometric_sizes(smallest: int, largest: int, number: int) -> list[int]:
    """Return whole numbers with nearly equal ratios, the sizes of nested sub-datasets.

    Raises:
        ValueError: an argument is out of range, or the range is too narrow for so many different sizes.

    Example:
        >>> geometric_sizes(5, 500, 9)
        [5, 9, 16, 28, 50, 89, 158, 281, 500]

    Reference: Ma et al. (ICLR 2023), section 3 and appendix D1.
    """
    if not 1 <= smallest < largest or number < 2:
        raise ValueError(
            f"Expected 1 <= smallest < largest and at least 2 sizes, but got {smallest}, {largest} and {number}."
        )
    sizes = [round(smallest * (largest / smallest) ** (step / (number - 1))) for step in range(number)]
    if len(set(sizes)) < number:
        raise ValueError(f"Expected {number} different sizes from {smallest} to {largest}, but got {sizes}. Use fewer.")
    return sizes


def saturation_point(sizes: Sequence[int], values: Sequence[float], share: float = 0.95) -> float | None:
    """Find the size from which on a curve stays above a share of its value at the largest size.

    Between two sizes the curve is taken as straight over the logarithm of the size.

    Args:
        sizes: (K,) samples a class, ascending.
        values: (K,) of the curve, the last above 0.
        share: in (0, 1).

    Returns:
        The size; the smallest one for a curve that is above the share everywhere, None for an undefined curve.

    Raises:
        ValueError: the lengths differ, or the share is outside (0, 1).

    Example:
        >>> saturation_point([1, 10, 100], [0.0, 0.9, 1.0], 0.9)
        10.0
    """
    if len(sizes) != len(values) or len(sizes) < 2 or not 0.0 < share < 1.0:
        raise ValueError(
            f"Expected two or more `sizes` and as many `values`, and a `share` in (0, 1), but got {len(sizes)}, "
            f"{len(values)} and {share}."
        )
    curve = np.asarray(values, dtype=np.float64)
    if not np.isfinite(curve).all() or curve[-1] <= 0.0:
        return None
    level = share * curve[-1]
    below = np.nonzero(curve < level)[0]
    if len(below) == 0:
        return float(sizes[0])
    last = int(below[-1])
    step = (level - curve[last]) / (curve[last + 1] - curve[last])
    return float(sizes[last] * (sizes[last + 1] / sizes[last]) ** step)


def saturation(sizes: Sequence[int], curves: Sequence[Sequence[float]], share: float = 0.95) -> Saturation:
    """Find the :func:`saturation_point` of each seed's curve (K,), their geometric mean and its 95 % interval."""
    points = tuple(saturation_point(sizes, curve, share) for curve in curves)
    if not points or any(point is None for point in points):
        return Saturation(None, None, None, points)
    return Saturation(*_exponentials(mean_interval([math.log(point) for point in points if point is not None])), points)


def saturation_ratio(first: Saturation, second: Saturation) -> dict[str, float | int | None]:
    """Compare two saturation points seed by seed.

    Returns:
        ``ratio`` first over second, its 95 % interval ``low`` and ``high``, and ``n``; 1 means: at the same size.
    """
    pairs = [(a, b) for a, b in zip(first.points, second.points, strict=True) if a is not None and b is not None]
    if not pairs:
        return {"ratio": None, "low": None, "high": None, "n": 0}
    ones, others = ([math.log(value) for value in part] for part in zip(*pairs, strict=True))
    ratio, low, high = _exponentials(paired_difference(ones, others))
    return {"ratio": ratio, "low": low, "high": high, "n": len(pairs)}


def effective_number_curve(sizes: Sequence[int], beta: float) -> list[float]:
    """Return E_n = (1 - beta^n) / (1 - beta) at each size, the curve that the paper compares with.

    Args:
        sizes: (K,) samples a class.
        beta: in [0, 1]; (N - 1) / N for a class that N samples fill.

    Reference: Cui et al. (CVPR 2019), eq. 2; Ma et al. (ICLR 2023), section 2.
    """
    return effective_numbers(torch.tensor(sizes), beta).tolist()


def relative(values: Sequence[float]) -> list[float]:
    """Divide a curve by its last value.

    Example:
        >>> relative([1.0, 2.0])
        [0.5, 1.0]
    """
    return [value / values[-1] for value in values]


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Train on every size and seed, then compare the curves.

    Args:
        arguments: ``dataset``, ``backbone``, ``num_classes``, the sizes (``smallest``, ``largest``, ``number``),
            ``seeds``, the training (``steps``, ``least_epochs``, ``most_epochs``, ``batch_size``, ``lr``, ``decay``),
            ``share`` of the saturation point, ``betas`` of the effective numbers, further ``overrides``.

    Returns:
        Sizes, one curve a seed of the sum of S' and of accuracy, saturation points and agreement.

    Reference: Ma et al. (ICLR 2023), section 3, appendices D1 and K.
    """
    sizes = geometric_sizes(*(arguments[key] for key in ("smallest", "largest", "number")))
    seeds = arguments["seeds"]
    progress(f"{len(sizes)} sizes, {len(seeds)} seeds")
    cells = trained(table_of(arguments, sizes), folder, jobs)
    found = {(int(cell.row), cell.seed): cell.record for cell in cells}
    scales, accuracy = (
        [[value(found[size, seed]) for size in sizes] for seed in seeds] for value in (sum_of_scales, top1)
    )
    return {
        **{key: arguments[key] for key in ("dataset", "backbone", "seeds", "share")},
        "sizes": sizes,
        "scales": scales,
        "accuracy": accuracy,
        **compare(sizes, scales, accuracy, arguments["betas"], arguments["share"]),
        "cells": [cell.origin for cell in cells],
    }


def table_of(arguments: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Describe the trainings as a table with a row for each size.

    Every size is trained for about ``steps`` steps, within ``least_epochs`` and ``most_epochs``; over them the learning
    rate decays by ``decay`` in all, whatever their number.
    """
    rows = []
    for size in sizes:
        # A last batch of two images would upset the statistics of the batch norms, at some sizes and not at others.
        total, batch = size * arguments["num_classes"], arguments["batch_size"]
        steps_per_epoch = max(1, total // batch)
        wanted = math.ceil(arguments["steps"] / steps_per_epoch)
        epochs = min(max(wanted, arguments["least_epochs"]), arguments["most_epochs"])
        gamma = round(arguments["decay"] ** (1.0 / epochs), 6)
        changes = [
            f"imbalance.samples={size}",
            f"trainer.max_epochs={epochs}",
            f"scheduler.gamma={gamma}",
            f"dataset.drop_last={str(total >= batch).lower()}",
        ]
        rows.append({"name": str(size), "overrides": changes})
    base = [
        f"dataset={arguments['dataset']}",
        f"backbone={arguments['backbone']}",
        f"dataset.batch_size={arguments['batch_size']}",
        "imbalance=per_class",
        "optimizer=adam",
        f"optimizer.lr={arguments['lr']}",
        "scheduler=exponential",
        *arguments["overrides"],
    ]
    return {"name": "marginal_effect", "base": base, "rows": rows, "seeds": arguments["seeds"]}


def compare(
    sizes: Sequence[int],
    scales: Sequence[Sequence[float]],
    accuracy: Sequence[Sequence[float]],
    betas: Sequence[float],
    share: float,
) -> dict[str, Any]:
    """Find where the curves saturate, and how well each goes with accuracy.

    Args:
        sizes: (K,) samples a class.
        scales: (seeds, K) sum of the classes' S' in bits.
        accuracy: (seeds, K).
        betas: of the effective numbers.
        share: of the largest value that counts as saturated.

    Returns:
        ``saturation`` of both curves, their ``saturation_ratio``, ``effective_numbers`` and ``agreement``: the
        correlation with accuracy over all sizes and seeds.
    """
    points = {"scales": saturation(sizes, scales, share), "accuracy": saturation(sizes, accuracy, share)}
    flat, seeds = list(chain(*accuracy)), len(accuracy)
    curves = {f"beta={beta:g}": effective_number_curve(sizes, beta) for beta in betas}
    candidates: dict[str, list[float]] = {
        "sum of S'": list(chain(*scales)),
        "n": seeds * [float(size) for size in sizes],
        **{f"E_n, {name}": seeds * curve for name, curve in curves.items()},
    }
    return {
        "saturation": {name: point._asdict() for name, point in points.items()},
        "saturation_ratio": saturation_ratio(points["scales"], points["accuracy"]),
        "effective_numbers": {
            name: {"relative": relative(curve), "saturation": saturation(sizes, [curve], share).point}
            for name, curve in curves.items()
        },
        "agreement": {
            name: {"pearson": pearson(values, flat)._asdict(), "spearman": spearman(values, flat)._asdict()}
            for name, values in candidates.items()
        },
    }


def sum_of_scales(record: Mapping[str, Any]) -> float:
    """Sum the classes' S' of a trained model in bits; NaN where one is undefined."""
    values = record["scales"]["S'"]
    return math.fsum(values) if None not in values else math.nan


def top1(record: Mapping[str, Any]) -> float:
    """Return the test accuracy of the last epoch."""
    return float(record["results"]["last"]["top1"])


def _exponentials(interval: Interval | PairedDifference) -> tuple[float, float | None, float | None]:
    """Return mean, low and high of an interval of logarithms, as ratios."""
    low, high = (None if bound is None else math.exp(bound) for bound in (interval.low, interval.high))
    return math.exp(interval.mean), low, high


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the curves of all seeds with their saturation points."""
    figure, (left, right) = new_figure(11.0, 4.0, 1, 2)
    _draw_absolute(left, result)
    _draw_relative(right, result)
    figure.suptitle(f"{result['dataset']}, {result['backbone']}, {len(result['seeds'])} seeds", fontsize=10)
    return figure


def _draw_absolute(ax: Axes, result: Mapping[str, Any]) -> None:
    other = ax.twinx()
    other.spines["top"].set_visible(False)
    for axes, key, scale, unit in ((ax, "scales", 1.0, "bits"), (other, "accuracy", 100.0, "%")):
        curves, (name, colour, marker) = finite(result[key]) * scale, _SERIES[key]
        axes.plot(result["sizes"], curves.T, color=colour, linewidth=0.6, alpha=0.5)
        axes.plot(result["sizes"], curves.mean(0), color=colour, marker=marker, markersize=4)
        axes.set_ylabel(f"{name} ({unit})", color=colour, fontsize=9)
        axes.set_ylim(0.0, 1.08 * float(np.nanmax(curves)))
        axes.tick_params(labelsize=8, length=2)
    _label_sizes(ax)


def _draw_relative(ax: Axes, result: Mapping[str, Any]) -> None:
    for key, (name, colour, marker) in _SERIES.items():
        curves, point = finite(result[key]), result["saturation"][key]
        mean = (curves / curves[:, -1:]).mean(0)
        reached = "" if point["point"] is None else f": {100 * result['share']:.0f} % at {point['point']:.0f}"
        ax.plot(result["sizes"], mean, label=f"{name}{reached}", color=colour, marker=marker, markersize=4)
        if point["point"] is not None:
            ax.axvline(point["point"], color=colour, linewidth=0.8)
        if point["low"] is not None:
            ax.axvspan(point["low"], point["high"], color=colour, alpha=0.12, linewidth=0)
    for (name, curve), grey in zip(result["effective_numbers"].items(), _GREYS, strict=False):
        ax.plot(result["sizes"], curve["relative"], color=grey, linestyle="--", linewidth=1.0, label=f"E_n, {name}")
    ax.axhline(result["share"], color="#999999", linewidth=0.6)
    ax.set(ylim=(0.0, 1.08), ylabel="share of the value at the largest size")
    _label_sizes(ax)
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _label_sizes(ax: Axes) -> None:
    ax.set_xscale("log")
    sizes = np.asarray(ax.lines[0].get_xdata(), dtype=float)
    ax.set_xlim(0.9 * sizes.min(), 1.1 * sizes.max())
    # Every other size: the logarithmic axis's own labels would run into one another.
    ax.set_xticks(sizes[::2], [f"{size:.0f}" for size in sizes[::2]])
    ax.minorticks_off()
    ax.set_xlabel("training samples of each class")
