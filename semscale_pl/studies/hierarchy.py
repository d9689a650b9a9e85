"""Semantic hierarchy: each of CIFAR-100's classes is mixed into each of its 20 superclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.data.vision import cifar100_superclasses
from semscale_pl.figures.style import means_and_reaches, new_figure, series_style
from semscale_pl.geometry import semantic_scale
from semscale_pl.geometry.moments import Moments
from semscale_pl.seeding import derive_seed
from semscale_pl.statistics import mean_interval, paired_difference, wilson_interval
from semscale_pl.studies.running import Report, data_folder, run_features, trained
from semscale_pl.training.image_features import load_pixels

METHODS = {
    "S' ratio": "smallest S' ratio",
    "S' ratio, equal counts": "smallest S' ratio with as many samples in the mixture as in the parent",
    "nearest centre": "baseline: the parent with the nearest centre",
}
BASELINE = "nearest centre"
SPLITS = ("train", "test")
_DRAW = 1  # stream of random numbers


class Probe(NamedTuple):
    """What mixing every class into every parent says.

    Args:
        ratios: (C, P) S' with the class over S' without it.
        matched: (C, P) the same, with as many samples in both.
        distances: (C, P) between the class's centre and the parent's.
    """

    ratios: Tensor
    matched: Tensor
    distances: Tensor


def mixing_ratio(parent: Tensor, child: Tensor) -> float:
    """Return S' of a parent (m, d) with a child's samples (n, d) over S' of the parent alone; NaN where that is 0.

    Example:
        >>> round(mixing_ratio(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-1.0], [1.0]])), 6)
        1.0

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    alone = float(semantic_scale(parent))
    return float(semantic_scale(torch.cat([parent, child]))) / alone if alone > 0.0 else math.nan


def leave_one_out(features: Tensor, labels: Tensor, parents: Tensor, seed: int = 0) -> Probe:
    """Take each class out of its parent in turn and mix it into every parent.

    With s classes to a parent and m samples to a class, every parent has (s - 1) m samples: all of those of the classes
    that are left to the child's own parent, and as many, equally from its s classes, of every other parent. The child
    adds m. In the matched ratio the mixture has (s - 1) m samples too: the parent's share is drawn down to make room.

    Args:
        features: (N, d), as many of every class.
        labels: (N,) in 0..C-1.
        parents: (C,) parent of each class, in 0..P-1, as many classes in each.
        seed: of the draws.

    Raises:
        ValueError: the classes or the parents are not of one size, or too small.

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    size, siblings = _sizes(labels, parents)
    left = siblings - 1
    ranks = _ranks(labels, derive_seed(seed, _DRAW))
    total = left * size
    # A child's samples in a matched mixture: a share of 1 / siblings, as in an unmatched one.
    part = total // siblings
    numbers = (size, part, (total - part) // left, (total - part) // siblings, part)
    whole, fewer, own_less, other_less, child_less = (
        _first(features, labels, ranks, number, len(parents)) for number in numbers
    )
    member = parents[None, :] == torch.arange(int(parents.max()) + 1)[:, None]
    rows = []
    for child, own in enumerate(parents.tolist()):
        groups = member.clone()
        groups[own, child] = False
        alone = _composed(whole, fewer, groups, own)
        mixed = alone.joined(whole.take([child]))
        matched = _composed(own_less, other_less, groups, own).joined(child_less.take([child]))
        before = alone.scales()
        distances = (alone.means - whole.means[child]).norm(dim=1)
        rows.append((mixed.scales() / before, matched.scales() / before, distances))
    return Probe(*(torch.stack(part) for part in zip(*rows, strict=True)))


def predictions(values: Tensor) -> Tensor:
    """Return the parent with the least value of each class, (C,)."""
    return values.argmin(1)


def true_ranks(values: Tensor, parents: Tensor) -> Tensor:
    """Return how many parents come before the true one, (C,); 0 where the prediction is right.

    Example:
        >>> true_ranks(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([0, 1])).tolist()
        [0, 1]
    """
    own = values.gather(1, parents[:, None])
    return (values < own).sum(1)


def _sizes(labels: Tensor, parents: Tensor) -> tuple[int, int]:
    counts, families = torch.bincount(labels, minlength=len(parents)), torch.bincount(parents)
    size, siblings = int(counts[0]), int(families[0])
    if not bool((counts == size).all()) or not bool((families == siblings).all()) or size < siblings or siblings < 2:
        raise ValueError(
            "Expected as many samples in every class and as many classes (2 or more) in every parent, but got "
            f"{int(counts.min())}..{int(counts.max())} samples and {int(families.min())}..{int(families.max())} "
            "classes. Draw equal numbers first."
        )
    return size, siblings


def _ranks(labels: Tensor, seed: int) -> Tensor:
    """Number the samples of each class in a random order, (N,) from 0."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels[order]]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts
    return ranks


def _first(features: Tensor, labels: Tensor, ranks: Tensor, count: int, num_classes: int) -> Moments:
    chosen = ranks < count
    return Moments.of(features[chosen], labels[chosen], num_classes)


def _composed(own_parts: Moments, other_parts: Moments, groups: Tensor, own: int) -> Moments:
    """Make the parents: the child's own of one selection of samples, the others of another."""
    others, mine = other_parts.grouped(groups), own_parts.grouped(groups[own : own + 1])
    is_own = torch.arange(len(groups)) == own
    return Moments(
        torch.where(is_own, mine.counts, others.counts),
        torch.where(is_own[:, None], mine.means, others.means),
        torch.where(is_own[:, None, None], mine.scatter, others.scatter),
    )


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Predict every class's parent from several features.

    Args:
        arguments: ``image_size`` of the raw images, ``network`` (overrides of the training that gives the features),
            ``seeds`` of the training and ``seed`` of the draws.

    Returns:
        For each kind of feature and method the accuracy with its interval and the rank of the true parent; and over
        the trainings, the mean accuracy of each method and its paired difference from the baseline.

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    parents, names = cifar100_superclasses(data_folder())
    size = arguments["image_size"]
    raw = load_pixels("cifar100", "train", size)
    features: dict[str, tuple[Tensor, Tensor]] = {f"raw images, {size} x {size}": (raw.features, raw.labels)}
    progress("training the network that gives the features")
    table = {"name": "hierarchy", "base": ["dataset=cifar100", *arguments["network"]], "rows": [{"name": "network"}]}
    cells = trained({**table, "seeds": arguments["seeds"]}, folder, jobs)
    for cell in cells:
        for split in SPLITS:
            name = f"network, {split} images, seed {cell.seed}"
            features[name] = run_features(cell.folder / "checkpoints" / "last.ckpt", split)
    kinds: dict[str, dict[str, Any]] = {}
    for kind, (rows, labels) in features.items():
        progress(f"probing: {kind}")
        kinds[kind] = probe(rows, labels, parents, arguments["seed"])
    networks = {
        f"network, {split} images": [kinds[f"network, {split} images, seed {cell.seed}"] for cell in cells]
        for split in SPLITS
    }
    return {
        "parents": names,
        "classes": list(raw.class_names),
        "parent_of": parents.tolist(),
        "methods": METHODS,
        "kinds": kinds,
        "over_seeds": {kind: over_seeds(found) for kind, found in networks.items()},
        "network_accuracy": [cell.record["results"]["last"]["top1"] for cell in cells],
        "cells": [cell.origin for cell in cells],
    }


def probe(features: Tensor, labels: Tensor, parents: Tensor, seed: int) -> dict[str, Any]:
    """Compare the methods on one kind of feature, see :func:`leave_one_out`.

    Returns:
        For each method: ``accuracy`` with ``low`` and ``high`` (95 %, Wilson), the mean ``rank`` of the true parent
        (0: first), and the ``predicted`` parents; and the ``shape`` of the features.
    """
    found = leave_one_out(features, labels, parents, seed)
    methods = {}
    for name, values in zip(METHODS, found, strict=True):
        predicted, ranks = predictions(values), true_ranks(values, parents)
        right = int((predicted == parents).sum())
        low, high = wilson_interval(right, len(parents))
        methods[name] = {
            "accuracy": right / len(parents),
            "low": low,
            "high": high,
            "rank": float(ranks.double().mean()),
            "top3": float((ranks < 3).double().mean()),
            "predicted": predicted.tolist(),
        }
    return {"shape": list(features.shape), "methods": methods}


def over_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the methods over several trainings.

    Args:
        found: of :func:`probe`, one a training.

    Returns:
        For each method: ``accuracy`` (mean), ``low`` and ``high`` (95 %, Student, None with one training), the
        ``accuracies`` of the trainings, and ``less_baseline``, the paired difference from the nearest centre with its
        own ``low`` and ``high``.
    """
    accuracies = {name: [one["methods"][name]["accuracy"] for one in found] for name in METHODS}
    summary: dict[str, dict[str, Any]] = {}
    for name, values in accuracies.items():
        mean, _, low, high, _ = mean_interval(values)
        summary[name] = {"accuracy": mean, "low": low, "high": high, "accuracies": values}
        if name != BASELINE:
            difference = paired_difference(values, accuracies[BASELINE])
            summary[name]["less_baseline"] = {part: getattr(difference, part) for part in ("mean", "low", "high")}
    return summary


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw accuracies with their intervals."""
    rows = _rows(result)
    kinds, methods = list(rows), list(result["methods"])
    figure, (ax,) = new_figure(7.5, 0.9 + 0.75 * len(kinds))
    for step, method in enumerate(methods):
        found = [rows[kind][method] for kind in kinds]
        colour, marker = series_style(step)
        heights = np.arange(len(kinds)) + 0.25 * (step - (len(methods) - 1) / 2)
        values, reach = means_and_reaches(found, "accuracy")
        ax.errorbar(100 * values, heights, xerr=100 * reach, fmt=marker, color=colour, markersize=5, label=method)
    chance = 100 / len(result["parents"])
    ax.axvline(chance, color="#999999", linewidth=0.8, linestyle="--")
    ax.text(chance, len(kinds) - 0.55, " chance", fontsize=7, color="#777777")
    ax.set_yticks(range(len(kinds)), kinds, fontsize=8)
    ax.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    ax.grid(visible=False, axis="y")
    total = f"{len(result['classes'])} classes, {len(result['parents'])} parents"
    ax.set(xlim=(0, 100), ylim=(len(kinds) - 0.45, -0.55), xlabel=f"parent found (% of {total}, 95 % interval)")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _rows(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the features that no training made, and the means over the trainings; or the one training there is."""
    count = len(result.get("network_accuracy", []))
    if count < 2:
        return {kind: found["methods"] for kind, found in result["kinds"].items()}
    own = {kind: found["methods"] for kind, found in result["kinds"].items() if not kind.startswith("network")}
    return {**own, **{f"{kind}\n{count} trainings": found for kind, found in result["over_seeds"].items()}}
