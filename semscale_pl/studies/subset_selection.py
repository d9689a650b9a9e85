"""Which k images of a class stand for it: a network is trained on each choice and tested on all test images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale_pl.advice.selection import METHODS, coverage, random_rows, select, shrink
from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.figures.style import means_and_reaches, new_figure, series_style
from semscale_pl.files import write_json
from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.seeding import derive_seed
from semscale_pl.statistics import mean_interval, paired_difference
from semscale_pl.studies.running import Report, adjust_p_values, tracked, trained
from semscale_pl.training.image_features import load_pixels

BASELINE = "random"
NAMES = {
    "random": "random",
    "draws": "best S' of 100 draws",
    "greedy": "greedy volume",
    "herding": "herding",
    "k_centre": "k-centre",
}
_Choice = tuple[str, int, int]  # method, k, seed


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Choose, train and compare.

    Args:
        arguments: ``dataset``, ``side`` of the images as features, ``pool`` (candidates of a class, drawn anew for
            each seed), ``sizes`` (k), ``methods``, ``seeds``, ``epochs`` (one for each size), ``keep_volume``,
            ``overrides`` of the training.

    Returns:
        ``entries``, one for each size and method, and what shrinking to ``keep_volume`` leaves.

    Raises:
        ValueError: an argument is wrong.
        StudyFailedError: a training failed.

    Reference: Ma et al. (ICLR 2023), appendix I1.
    """
    check(arguments)
    data = load_pixels(arguments["dataset"], "train", arguments["side"])
    pools = {seed: draw_pool(data, arguments["pool"], seed) for seed in arguments["seeds"]}
    total = len(arguments["methods"]) * len(arguments["sizes"]) * len(arguments["seeds"])
    choices = dict(tracked(_choices(arguments, data, pools), total, progress, "choice"))
    trainings = trained(table_of(arguments, _write_lists(choices, folder)), folder, jobs)
    found = {(training.row, training.seed): training.record["results"]["last"] for training in trainings}
    accuracies = {
        (method, size, seed): 100.0 * found[_row_name(method, size), seed]["balanced_accuracy"]
        for method, size, seed in choices
    }
    return {
        "features": f"pixels at {arguments['side']} x {arguments['side']}",
        "pool": arguments["pool"],
        "seeds": arguments["seeds"],
        "entries": entries(arguments, accuracies, _volumes(data, pools, choices)),
        "shrunk": _shrunk(arguments, data, pools),
    }


def check(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that cannot work.

    Raises:
        ValueError: they cannot.
    """
    unknown = sorted(set(arguments["methods"]) - set(METHODS))
    if unknown or BASELINE not in arguments["methods"]:
        raise ValueError(
            f"Expected `methods` to be among {sorted(METHODS)}, with {BASELINE!r} to compare with, "
            f"but got {arguments['methods']}."
        )
    sizes = arguments["sizes"]
    if len(arguments["epochs"]) != len(sizes) or not sizes or not 1 <= min(sizes) <= max(sizes) <= arguments["pool"]:
        raise ValueError(
            f"Expected `epochs` to be one number for each of `sizes`, and these from 1 to the pool's "
            f"{arguments['pool']}, but got {arguments['epochs']} and {sizes}."
        )


def draw_pool(data: LoadedFeatures, size: int, seed: int) -> list[torch.Tensor]:
    """Draw some candidates of every class, all of a smaller one: for each class, positions in the training split."""
    pools = []
    for label in range(len(data.class_names)):
        members = (data.labels == label).nonzero().flatten()
        pools.append(members[random_rows(len(members), min(size, len(members)), derive_seed(seed, label))])
    return pools


def table_of(arguments: Mapping[str, Any], lists: Path) -> dict[str, Any]:
    """Return the trainings as a table, one row for each method and size; ``lists`` has METHOD_SIZE_SEED.json."""
    rows = [
        {
            "name": _row_name(method, size),
            "overrides": [
                f"trainer.max_epochs={epochs}",
                "imbalance=listed",
                f"imbalance.file={lists.as_posix()}/{method}_{size}_${{seed}}.json",
            ],
        }
        for size, epochs in zip(arguments["sizes"], arguments["epochs"], strict=True)
        for method in arguments["methods"]
    ]
    base = [f"dataset={arguments['dataset']}", "logger=csv", *arguments["overrides"]]
    return {"name": "subset_selection", "base": base, "rows": rows, "seeds": list(arguments["seeds"])}


def entries(
    arguments: Mapping[str, Any], accuracies: Mapping[_Choice, float], volumes: Mapping[_Choice, tuple[float, float]]
) -> list[dict[str, Any]]:
    """Compare the methods at each size; p-values are adjusted for the rivals of one size (Holm).

    Args:
        arguments: see :func:`run`.
        accuracies: per cent, of each method, size and seed.
        volumes: S' and coverage in bits, averaged over the classes, of each method, size and seed.
    """
    result, seeds = [], arguments["seeds"]
    for size in arguments["sizes"]:
        baseline = [accuracies[BASELINE, size, seed] for seed in seeds]
        block = []
        for method in arguments["methods"]:
            values = [accuracies[method, size, seed] for seed in seeds]
            entry = {"method": method, "size": size, "values": values, "accuracy": mean_interval(values)._asdict()}
            entry["scale"], entry["coverage"] = (
                fmean(part) for part in zip(*(volumes[method, size, seed] for seed in seeds), strict=True)
            )
            if method != BASELINE:
                entry["difference"] = paired_difference(values, baseline)._asdict()
            block.append(entry)
        adjust_p_values([entry["difference"] for entry in block if "difference" in entry])
        result += block
    return result


def _row_name(method: str, size: int) -> str:
    return f"{method} k={size}"


def _choices(
    arguments: Mapping[str, Any], data: LoadedFeatures, pools: Mapping[int, Sequence[torch.Tensor]]
) -> Iterator[tuple[_Choice, list[torch.Tensor]]]:
    """Yield, for each method, size and seed, the chosen rows of each class's pool."""
    for seed, pool in pools.items():
        for size in arguments["sizes"]:
            for method in arguments["methods"]:
                # Another stream than the pool's: its first k would otherwise be the pool's order.
                rows = [
                    select(data.features[members], size, method, derive_seed(seed, label, 1))
                    for label, members in enumerate(pool)
                ]
                yield (method, size, seed), [members[chosen] for members, chosen in zip(pool, rows, strict=True)]


def _write_lists(choices: Mapping[_Choice, Sequence[torch.Tensor]], folder: Path) -> Path:
    """Write one list a training, in a folder named after all that they hold: a table goes by the names of files."""
    lists = {
        f"{method}_{size}_{seed}": torch.cat(list(rows)).sort().values.tolist()
        for (method, size, seed), rows in choices.items()
    }
    name = hashlib.sha256(json.dumps(lists, sort_keys=True).encode()).hexdigest()[:12]
    for stem, positions in lists.items():
        write_json(folder / f"lists-{name}" / f"{stem}.json", positions)
    return folder / f"lists-{name}"


def _volumes(
    data: LoadedFeatures, pools: Mapping[int, Sequence[torch.Tensor]], choices: Mapping[_Choice, Sequence[torch.Tensor]]
) -> dict[_Choice, tuple[float, float]]:
    result = {}
    for (method, size, seed), chosen in choices.items():
        scales = [float(semantic_scale(data.features[rows])) for rows in chosen]
        covered = []
        for members, rows in zip(pools[seed], chosen, strict=True):
            covered.append(float(coverage(data.features[members], torch.isin(members, rows).nonzero().flatten())))
        result[method, size, seed] = (fmean(scales), fmean(covered))
    return result


def _shrunk(
    arguments: Mapping[str, Any], data: LoadedFeatures, pools: Mapping[int, Sequence[torch.Tensor]]
) -> list[dict[str, Any]]:
    """Shrink the first seed's pool with every method, as far as ``keep_volume`` allows."""
    rows = torch.cat(list(pools[arguments["seeds"][0]]))
    result = []
    for method in arguments["methods"]:
        kept = shrink(data.features[rows], data.labels[rows], arguments["keep_volume"], method)
        shares = kept.scales / kept.full_scales
        result.append({"method": method, "counts": kept.counts.tolist(), "least_share": float(shares.min())})
    return result


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw accuracy over k with 95 % intervals, and the gain over the random choice against its gain in S'."""
    figure, (left, right) = new_figure(9.5, 4.0, columns=2)
    methods = list(dict.fromkeys(entry["method"] for entry in result["entries"]))
    sizes = sorted({entry["size"] for entry in result["entries"]})
    for number, method in enumerate(methods):
        colour, marker = series_style(number)
        rows = [entry for entry in result["entries"] if entry["method"] == method]
        _over_size(left, rows, sizes, number - (len(methods) - 1) / 2, colour, marker)
        if method != BASELINE:
            _over_scale(right, rows, result["entries"], colour, marker)
    left.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    left.set(xlabel="chosen images of each class k", ylabel="balanced accuracy (%)")
    left.legend(fontsize=8, frameon=False, loc="lower right")
    right.axhline(0.0, color="#888888", linewidth=0.8, linestyle="--")
    difference = "less that of a random choice"
    right.set(xlabel=f"S' of the chosen images {difference} (bits)", ylabel=f"accuracy {difference} (points)")
    right.text(0.98, 0.98, "labels: k", transform=right.transAxes, ha="right", va="top", fontsize=8)
    return figure


def _over_size(ax: Axes, rows: list[Any], sizes: list[int], shift: float, colour: str, marker: str) -> None:
    x = np.array([sizes.index(row["size"]) for row in rows]) + 0.08 * shift
    means, reach = means_and_reaches(row["accuracy"] for row in rows)
    label = NAMES.get(rows[0]["method"], rows[0]["method"])
    ax.errorbar(x, means, yerr=reach, color=colour, marker=marker, markersize=5, capsize=2, label=label)


def _over_scale(ax: Axes, rows: list[Any], entries: list[Any], colour: str, marker: str) -> None:
    baseline = {entry["size"]: entry["scale"] for entry in entries if entry["method"] == BASELINE}
    for row in rows:
        x, y = row["scale"] - baseline[row["size"]], row["difference"]["mean"]
        width = row["difference"]["half_width"] or 0.0
        ax.errorbar(x, y, yerr=width, color=colour, marker=marker, markersize=5, capsize=2)
        ax.annotate(str(row["size"]), (x, y), (5, 4), textcoords="offset points", fontsize=7)
