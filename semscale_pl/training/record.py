"""The record of a run: per_class.csv, then metrics.json, whose presence means that the run ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from semscale_pl.callbacks.training_data import evaluating
from semscale_pl.files import csv_text, strict, write_json, write_text
from semscale_pl.geometry import ClassGeometry, ClassMoments, pool_features
from semscale_pl.imbalance import effective_numbers
from semscale_pl.metrics.report import Report
from semscale_pl.statistics import pearson, spearman
from semscale_pl.training.provenance import commit, device_name, peak_memory, versions
from semscale_pl.validation import check_finite

NUM_POOLED = 64
SCALES = ("S'", "W", "S")
PER_CLASS = ("accuracy", "precision", "average_precision")
Column = Sequence[float | int | None]

# S' in bits, W and S to C values each; None for a class without images.
Scales = dict[str, Column]
# "last": the last epoch's model on the test set; "selected": that of the epoch which a validation part selected.
Results = dict[str, Report | None]


class EffectiveNumbers(TypedDict):
    """E_n of each class, and its beta."""

    beta: float
    E_n: Column


class Provenance(TypedDict):
    """What computed a result."""

    versions: dict[str, str | None]
    commit: str | None
    device: str


class Cost(TypedDict, total=False):
    """Seconds of the run, most memory in bytes, and passes over the training images besides training."""

    seconds: float | None
    peak_memory: dict[str, int | None]
    extra_passes: float


class Parameters(TypedDict):
    """Numbers in the backbone and in the head, and of both those that are trained."""

    backbone: int
    head: int
    trained: int


class Record(TypedDict):
    """The content of ``metrics.json``, whose presence means that the run ended.

    A run that is not a whole one, by a limit or a setting that leaves out data, is ``interrupted``; tables and results
    leave it out, and ``interrupted_by`` says why. ``skipped_steps`` counts training steps without an update
    (``on_nonfinite=skip``).
    ``recipe`` is what a second stage chose, and what the validation part said of each choice; ``results`` then has the
    finished head under ``last`` and the head as trained under ``stage1``.
    ``correlations`` has, for each of the results, quantity to method (``pearson``, ``spearman``) to value, low and
    high (95 %) and n.
    """

    seed: int | None
    subset_seed: int | None
    index_hash: str | None
    num_classes: int
    class_names: list[str]
    class_counts: list[int]
    train_size: int
    skipped_images: dict[str, int]
    completed_epochs: int | None
    interrupted: bool
    interrupted_by: list[str]
    skipped_steps: int
    results: Results
    scales: Scales
    effective_numbers: EffectiveNumbers
    correlations: dict[str, dict[str, dict[str, dict[str, float | None]]]]
    parameters: Parameters
    provenance: Provenance
    cost: Cost
    recipe: dict[str, Any] | None
    config: dict[str, Any]


@torch.no_grad()
def diagnose(module: Any, datamodule: Any, samples: tuple[Tensor, Tensor] | None = None) -> Scales:
    """Measure the last model's S', W and S in one evaluation-mode pass over the training subset.

    Every method is measured alike, whatever its re-weighting kept while it trained: the classifier's input, pooled to
    64 features, of un-augmented images. Batches are added up class by class and forgotten, so that memory does not grow
    with their number.

    Args:
        module: with ``features(images)`` giving (B, D).
        datamodule: with ``eval_train_dataloader()`` and ``num_classes``.
        samples: features (N, D) and labels (N,) of that pass, where it was made already.

    Raises:
        ValueError: the features of a batch are not finite.

    Reference: Ma et al. (ICLR 2023), eq. 4 to 7.
    """
    moments: ClassMoments | None = None
    for features, labels in _pooled_batches(module, datamodule) if samples is None else [samples]:
        pooled = pool_features(features, NUM_POOLED)
        check_finite(pooled, "features")
        moments = moments or ClassMoments(datamodule.num_classes, pooled.shape[1])
        moments.add(pooled, labels.cpu())
    assert moments is not None  # a training split has an image
    found = ClassGeometry.of(moments.counts, moments.scales(), moments.centres())
    return {"S'": strict(found.scales), "W": strict(found.interclass_weights), "S": strict(found.imbalance)}


def write_record(
    run_dir: str | os.PathLike[str],
    *,
    config: Mapping[str, Any],
    results: Mapping[str, Report | None],
    datamodule: Any,
    module: Any,
    scales: Scales | None = None,
    seconds: float | None = None,
    completed_epochs: int | None = None,
    interrupted_by: Sequence[str] = (),
    skipped_steps: int = 0,
    further_cost: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Record:
    """Write ``per_class.csv`` and, last and in one step, ``metrics.json``.

    Args:
        config: resolved configuration, as plain values.
        results: ``last`` and, where a validation part selected an epoch, ``selected``: each what a
            ``ClassificationReport`` computed on the test set, or None; any further reports under their own names, as
            ``validation`` is that of a run without a test.
        datamodule: with ``num_classes``, ``class_names``, ``class_counts``, ``train_size`` and ``index_hash``.
        scales: what :func:`diagnose` returned; None where the run ended before it.
        interrupted_by: what made it less than a whole run.
        device: that trained; by default where the module lies.

    Returns:
        The record, as written.
    """
    counts = [int(count) for count in datamodule.class_counts]
    beta = 1.0 - 1.0 / sum(counts) if sum(counts) else 0.0
    columns: dict[str, Column] = {"n": counts, "E_n": strict(effective_numbers(torch.tensor(counts), beta))}
    columns |= {name: scales[name] if scales else [None] * len(counts) for name in SCALES}
    record = {
        **_identity(config, datamodule, counts),
        "completed_epochs": completed_epochs,
        "interrupted": bool(interrupted_by),
        "interrupted_by": list(interrupted_by),
        "skipped_steps": skipped_steps,
        "results": {"last": None, "selected": None, **results},
        "scales": {name: columns[name] for name in SCALES},
        "effective_numbers": {"beta": beta, "E_n": columns["E_n"]},
        "correlations": {name: correlate(report, columns) for name, report in results.items() if report},
        "parameters": _parameters(module),
        "provenance": {"versions": versions(), "commit": commit(), "device": device_name(device or _device(module))},
        "cost": {"seconds": seconds, "peak_memory": peak_memory(), **(further_cost or {})},
        **(extra or {}),
        "config": config,
    }
    plain: Record = strict(record)
    write_text(Path(run_dir) / "per_class.csv", per_class_text(datamodule.class_names, columns, results.get("last")))
    write_json(Path(run_dir) / "metrics.json", plain)
    return plain


def correlate(report: Report, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Correlate the class accuracies of a report with each per-class quantity, by Pearson and by Spearman.

    Each result has value, low, high (95 %) and n; what is undefined is None.
    """
    accuracy = report["per_class"]["accuracy"]
    return {
        name: {"pearson": pearson(values, accuracy)._asdict(), "spearman": spearman(values, accuracy)._asdict()}
        for name, values in columns.items()
    }


def per_class_text(names: Sequence[str], columns: Mapping[str, Column], report: Report | None) -> str:
    """Return the table of classes as CSV: quantities and the last epoch's accuracies; what is undefined is empty."""
    found = report["per_class"] if report else dict.fromkeys(PER_CLASS, [None] * len(names))
    table = {**columns, **{name: found[name] for name in PER_CLASS}}  # type: ignore[literal-required]
    rows = zip(range(len(names)), names, *(strict(list(values)) for values in table.values()), strict=True)
    return csv_text([["class_index", "class_name", *table], *rows])


def _identity(config: Mapping[str, Any], datamodule: Any, counts: list[int]) -> dict[str, Any]:
    seed, subset_seed = config.get("seed"), config.get("subset_seed")
    return {
        "seed": seed,
        "subset_seed": seed if subset_seed is None else subset_seed,
        "index_hash": getattr(datamodule, "index_hash", None),
        "num_classes": len(counts),
        "class_names": list(datamodule.class_names),
        "class_counts": counts,
        "train_size": sum(counts),
        "skipped_images": getattr(datamodule, "skipped_images", {}),
    }


def _parameters(module: Any) -> Parameters:
    everything, head = list(module.parameters()), getattr(module, "classifier", None)
    in_head = 0 if head is None else sum(one.numel() for one in head.parameters())
    trained = sum(one.numel() for one in everything if one.requires_grad)
    return {"backbone": sum(one.numel() for one in everything) - in_head, "head": in_head, "trained": trained}


def _pooled_batches(module: Any, datamodule: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the features of every batch on the CPU, pooled, in float32 or wider, with its labels.

    Outside of the trainer nobody else brings the images to the precision of a `trainer.precision` such as 64-true.
    """
    with evaluating(module):
        for images, labels, *_ in datamodule.eval_train_dataloader():
            features = module.features(images.to(next(module.parameters(), images)))
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            yield pool_features(features, NUM_POOLED).cpu(), labels


def _device(module: Any) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
