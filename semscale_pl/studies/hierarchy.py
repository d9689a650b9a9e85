"""The study of the hierarchy: each of CIFAR-100's classes is mixed into each of its 20 superclasses."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semscale_pl.analysis.hierarchy import leave_one_out, predictions, true_ranks
from semscale_pl.analysis.proportions import wilson_interval
from semscale_pl.data.superclasses import cifar100_superclasses
from semscale_pl.geometry import pool_features
from semscale_pl.statistics import mean_interval, paired_difference
from semscale_pl.studies.pixels import load_pixels
from semscale_pl.studies.training import trained

METHODS = {
    "S' ratio": "smallest S' ratio",
    "S' ratio, equal counts": "smallest S' ratio with as many samples in the mixture as in the parent",
    "nearest centre": "baseline: the parent with the nearest centre",
}
BASELINE = "nearest centre"


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Predict every class's parent from several features.

    Args:
        arguments: ``image_size`` of the raw images, ``network`` (overrides of the training that gives the features),
            ``seeds`` of the training and ``seed`` of the draws.
        folder: keeps the training.
        jobs: worker processes.
        progress: is told what comes.

    Returns:
        For each kind of feature and method the accuracy with its interval and the rank of the true parent; and over
        the trainings, the mean accuracy of each method and its paired difference from the baseline.

    Reference: Ma et al. (ICLR 2023), appendix L.
    """
    parents, names = cifar100_superclasses(Path(os.environ.get("SEMSCALE_DATA", "data")))
    raw = load_pixels("cifar100", "train", arguments["image_size"])
    size = arguments["image_size"]
    features: dict[str, tuple[Tensor, Tensor]] = {f"raw images, {size} x {size}": (raw.features, raw.labels)}
    progress("training the network that gives the features")
    table = {"name": "hierarchy", "base": ["dataset=cifar100", *arguments["network"]], "rows": [{"name": "network"}]}
    cells = trained({**table, "seeds": arguments["seeds"]}, folder, jobs)
    for cell in cells:
        for split, pair in network_features(cell.folder / "checkpoints" / "last.ckpt").items():
            features[f"network, {split} images, seed {cell.seed}"] = pair
    kinds: dict[str, dict[str, Any]] = {}
    for kind, (rows, labels) in features.items():
        progress(f"probing: {kind}")
        kinds[kind] = probe(rows, labels, parents, arguments["seed"])
    return {
        "parents": names,
        "classes": raw.class_names,
        "parent_of": parents.tolist(),
        "methods": METHODS,
        "kinds": kinds,
        "over_seeds": {
            f"network, {split} images": over_seeds(
                [kinds[f"network, {split} images, seed {cell.seed}"] for cell in cells]
            )
            for split in ("train", "test")
        },
        "network_accuracy": [cell.record["results"]["last"]["top1"] for cell in cells],
        "cells": [cell.origin for cell in cells],
    }


def probe(features: Tensor, labels: Tensor, parents: Tensor, seed: int) -> dict[str, Any]:
    """Compare the methods on one kind of feature.

    Args:
        features: (N, d).
        labels: (N,).
        parents: (C,) parent of each class.
        seed: of the draws.

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
            summary[name]["less_baseline"] = {
                "mean": difference.mean,
                "low": difference.low,
                "high": difference.high,
            }
    return summary


def network_features(checkpoint: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Pass training and test images through a trained model.

    Args:
        checkpoint: of the run.

    Returns:
        ``train`` and ``test``: features (N, at most 64) and labels (N,).
    """
    from semscale_pl.cli.building import build_datamodule
    from semscale_pl.cli.restoring import restore

    restored = restore(checkpoint)
    datamodule = build_datamodule(restored.config)
    loaders = {"train": datamodule.eval_train_dataloader(), "test": datamodule.test_dataloader()}
    found = {}
    for split, loader in loaders.items():
        with torch.no_grad():
            batches = [(pool_features(restored.module.features(batch[0])), batch[1]) for batch in loader]
        features, labels = (torch.cat(part) for part in zip(*batches, strict=True))
        found[split] = (features, labels)
    return found
