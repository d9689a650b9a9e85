"""Does the correlation of class accuracy with S' survive when the count of images is taken out of S'?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.figures.style import PALETTE, finite, legend_below, means_and_reaches, new_figure
from semscale_pl.geometry import class_geometry
from semscale_pl.imbalance import effective_numbers
from semscale_pl.measuring.estimators import controlled_scales
from semscale_pl.options import check
from semscale_pl.resampling import TwoWayDraws, partial, stacked
from semscale_pl.statistics import partial_pearson, partial_spearman, pearson, spearman
from semscale_pl.studies.correlation import COVERS, mean_correlation
from semscale_pl.studies.count_estimators import TITLES
from semscale_pl.studies.running import Report, run_features, tracked, trained

# S' again, on the classes where the extrapolation gives a value: otherwise the two would be compared on different ones.
SAME_CLASSES = "S', same classes"
# What is correlated with accuracy, in the order of the table.
QUANTITIES = ("n", "E_n", "S'", "S' matched", "S' OAS", "S' Ledoit-Wolf", "S' extrapolated", SAME_CLASSES, "W", "S")
_OF_COUNT = ("n", "E_n")
_CORRELATIONS = ("pearson", "spearman", "partial_pearson", "partial_spearman", "with_n")
# What is drawn: label, colour, marker, and how far from the middle of the row.
_SERIES = {
    "spearman": ("with accuracy", PALETTE[0], "o", -0.22),
    "partial_spearman": ("with accuracy, given n", PALETTE[1], "D", 0.0),
    "with_n": ("with n", "#777777", "s", 0.22),
}


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Train, measure the features of the training images, and correlate.

    Args:
        arguments: ``datasets`` (name to the overrides of its training), ``seeds``, ``overrides`` of all trainings,
            ``size`` of the matched subsets (null: the count of the smallest class), ``resample``: what intervals cover,
            ``trainings`` or ``both``, classes and trainings.

    Returns:
        ``datasets``: for each, per seed the classes' quantities, and the correlations with their intervals; ``covers``
        says in a sentence what these cover.

    Raises:
        ValueError: an argument is wrong.
        StudyFailedError: a training failed; the finished ones are kept.

    Reference: Ma et al. (ICLR 2023), section 3.4, Table 1, for the plain quantities.
    """
    resample = arguments.get("resample", "trainings")
    check(resample=resample)
    correlate = correlations_over_classes if resample == "both" else correlations
    trainings = trained(table_of(arguments), folder, jobs)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments["datasets"]}
    for training in tracked(trainings, len(trainings), progress, "model"):
        accuracy = training.record["results"]["last"]["per_class"]["accuracy"]
        features, labels = run_features(training.folder / "checkpoints" / "last.ckpt")
        columns = quantities(features, labels, len(accuracy), arguments["size"], training.seed)
        found[training.row].append({"seed": training.seed, "accuracy": accuracy, **columns})
    return {
        "quantities": list(QUANTITIES),
        "datasets": {name: {"seeds": seeds, "correlations": correlate(seeds)} for name, seeds in found.items()},
        "trainings": [training.origin for training in trainings],
        "resample": resample,
        "covers": COVERS[resample],
    }


def table_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainings as a table, one row a dataset.

    Raises:
        ValueError: there are no datasets.
    """
    if not isinstance(arguments["datasets"], Mapping) or not arguments["datasets"]:
        raise ValueError(f"Expected `datasets` to map names to overrides, but got {arguments['datasets']!r}.")
    rows = [{"name": name, "overrides": list(overrides)} for name, overrides in arguments["datasets"].items()]
    base = ["logger=csv", *arguments["overrides"]]
    return {"name": "count_control", "base": base, "rows": rows, "seeds": list(arguments["seeds"])}


def quantities(
    features: Tensor, labels: Tensor, num_classes: int, size: int | None = None, seed: int = 0
) -> dict[str, list[float]]:
    """Compute each of :data:`QUANTITIES`, C numbers, NaN where undefined.

    Args:
        features: (N, d).
        labels: (N,) integers in [0, C).
        num_classes: C.
        size: of the matched subsets; None for the count of the smallest class of at least 2.
        seed: of the subsets.
    """
    found = class_geometry(features, labels, num_classes)
    controlled = controlled_scales(features, labels, num_classes, size, seed)
    known = torch.where(controlled["extrapolated"].isnan(), math.nan, found.scales)
    columns = {
        "n": found.counts.double(),
        "E_n": effective_numbers(found.counts, 1.0 - 1.0 / len(labels)),
        "S'": found.scales,
        **{f"S' {TITLES[name]}": values for name, values in controlled.items()},
        "W": found.interclass_weights,
        "S": found.imbalance,
        SAME_CLASSES: known,
    }
    return {name: values.tolist() for name, values in columns.items()}


def correlations(seeds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Correlate every quantity with class accuracy, over the classes of each seed, then average over the seeds.

    Returns:
        Quantity to ``pearson`` and ``spearman`` with accuracy, ``partial_pearson`` given log n, ``partial_spearman``
        given n and ``with_n``, the rank correlation with n: each mean and 95 % interval over the seeds, or None;
        ``classes`` is how many classes have a value.
    """
    result = {}
    for name in QUANTITIES:
        rows = [_correlate(seed, name) for seed in seeds]
        averaged = {key: _over_seeds([row[key] for row in rows]) for key in _CORRELATIONS}
        result[name] = {**averaged, "classes": _classes_with(seeds, name)}
    return result


def correlations_over_classes(seeds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Do what :func:`correlations` does, with intervals that cover classes as well as trainings."""
    accuracy, counts = (stacked([seed[key] for seed in seeds]) for key in ("accuracy", "n"))
    draws, log_counts = TwoWayDraws(*accuracy.shape), np.log(counts)

    def of(name: str) -> dict[str, Any]:
        values = stacked([seed[name] for seed in seeds])
        # The same classes for all three of a partial correlation: those that have a value.
        tested, classes = np.where(np.isnan(values), math.nan, accuracy), _classes_with(seeds, name)
        direct = {kind: draws.correlations(values, tested, kind) for kind in ("pearson", "spearman")}
        drawn = {**direct, "with_n": draws.correlations(values, counts, "spearman")}
        for kind, given in (("pearson", log_counts), ("spearman", counts)) if name not in _OF_COUNT else ():
            ours, theirs = (draws.correlations(one, given, kind) for one in (values, tested))
            drawn[f"partial_{kind}"] = partial(direct[kind], ours, theirs)
        found = {key: draws.mean(rows, num_classes=min(classes))._asdict() for key, rows in drawn.items()}
        whole = {key: one if one["n"] == len(seeds) else None for key, one in found.items()}
        return {**dict.fromkeys(_CORRELATIONS), **whole, "classes": classes}

    return {name: of(name) for name in QUANTITIES}


def _classes_with(seeds: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [int(np.isfinite(finite(seed[name])).sum()) for seed in seeds]


def _correlate(seed: Mapping[str, Any], name: str) -> dict[str, float | None]:
    accuracy, counts, values = seed["accuracy"], seed["n"], seed[name]
    log_counts = np.log(counts).tolist()
    own = name in _OF_COUNT  # what n leaves of a function of n is no more than its curvature
    return {
        "pearson": pearson(values, accuracy).value,
        "spearman": spearman(values, accuracy).value,
        "partial_pearson": None if own else partial_pearson(values, accuracy, log_counts),
        "partial_spearman": None if own else partial_spearman(values, accuracy, counts),
        "with_n": spearman(values, counts).value,
    }


def _over_seeds(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Average on Fisher's scale, so that intervals end at 1 and -1; None unless every seed has a value."""
    return None if None in values else mean_correlation(values)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the correlations as a table in Markdown."""
    lines = [
        "| dataset | quantity | classes | Pearson | Spearman | Pearson given log n | Spearman given n | with n |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for dataset, entry in result["datasets"].items():
        for name in result["quantities"]:
            found = entry["correlations"][name]
            classes = sorted(set(found["classes"]))
            shown = [f"{classes[0]}" if len(classes) == 1 else f"{classes[0]} to {classes[-1]}"]
            shown += [_shown(found[key]) for key in _CORRELATIONS]
            lines.append(f"| {dataset} | {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _shown(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return "–"
    low, high = interval["low"], interval["high"]
    return f"{interval['mean']:+.2f}" + ("" if low is None else f" [{low:+.2f}, {high:+.2f}]")


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw rank correlations with class accuracy and with n, a panel a dataset, a row a quantity, over the seeds."""
    datasets, names = result["datasets"], result["quantities"]
    figure, axes = new_figure(4.2 * len(datasets) + 1.4, 0.42 * len(names) + 1.5, 1, len(datasets), sharey=True)
    for ax, (title, entry) in zip(axes, datasets.items(), strict=True):
        _panel(ax, entry["correlations"], names)
        ax.set_title(f"{title}, {len(entry['seeds'])} seeds", fontsize=10)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    legend_below(figure)
    return figure


def _panel(ax: Axes, correlations: Mapping[str, Any], names: list[str]) -> None:
    for key, (label, colour, marker, shift) in _SERIES.items():
        means, reach = means_and_reaches(correlations[name][key] for name in names)
        # A correlation ends at 1; Student's interval of a few seeds, which former results have, need not.
        reach = np.fmin(reach, [1.0 + means, 1.0 - means])
        style: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 4.5, "elinewidth": 1.0, "capsize": 2}
        ax.errorbar(means, np.arange(len(names)) + shift, xerr=reach, label=label, **style)
    ax.axvline(0.0, color="#888888", linewidth=0.8)
    for row in range(1, len(names)):
        ax.axhline(row - 0.5, color="#E5E5E5", linewidth=0.6)
    ax.grid(axis="y", visible=False)
    ax.set(xlim=(-1.05, 1.05), xlabel="rank correlation (mean, 95 % interval)")
