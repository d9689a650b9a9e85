"""The study of the marginal effect: nested sub-datasets, the sum of their classes' S', and the models they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semscale_pl.analysis.marginal_effect import (
    effective_number_curve,
    geometric_sizes,
    relative,
    saturation,
    saturation_ratio,
)
from semscale_pl.statistics import pearson, spearman
from semscale_pl.studies.training import trained


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train on every size and seed, then compare the curves.

    Args:
        arguments: ``dataset``, ``backbone``, ``num_classes``, the sizes (``smallest``, ``largest``, ``number``),
            ``seeds``, the training (``steps``, ``least_epochs``, ``most_epochs``, ``batch_size``, ``lr``, ``decay``),
            ``share`` of the saturation point, ``betas`` of the effective numbers, further ``overrides``.
        folder: keeps the trainings.
        jobs: worker processes.
        progress: is told what comes.

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
        "dataset": arguments["dataset"],
        "backbone": arguments["backbone"],
        "sizes": sizes,
        "seeds": seeds,
        "share": arguments["share"],
        "scales": scales,
        "accuracy": accuracy,
        **compare(sizes, scales, accuracy, arguments["betas"], arguments["share"]),
        "cells": [cell.origin for cell in cells],
    }


def table_of(arguments: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Describe the trainings as a table with a row for each size.

    Every size is trained for about ``steps`` steps, within ``least_epochs`` and ``most_epochs``; over them the learning
    rate falls by ``decay`` in all, whatever their number.

    Args:
        arguments: see :func:`run`.
        sizes: samples a class.
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
        *(f"{key}={arguments[key]}" for key in ("dataset", "backbone")),
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
    flat = [value for curve in accuracy for value in curve]
    curves = {f"beta={beta:g}": effective_number_curve(sizes, beta) for beta in betas}
    candidates: dict[str, list[float]] = {
        "sum of S'": [value for curve in scales for value in curve],
        "n": [float(size) for _ in accuracy for size in sizes],
        **{f"E_n, {name}": [value for _ in accuracy for value in curve] for name, curve in curves.items()},
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
