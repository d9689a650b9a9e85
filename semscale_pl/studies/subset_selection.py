"""Which k images of a class stand for it: a network is trained on each choice and tested on all test images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from semscale_pl.analysis.selection.coverage import coverage
from semscale_pl.analysis.selection.draws import random_rows
from semscale_pl.analysis.selection.methods import METHODS, select
from semscale_pl.analysis.selection.shrinking import shrink
from semscale_pl.cli.strict_json import write_json
from semscale_pl.seeding import derive_seed
from semscale_pl.statistics import holm, mean_interval, paired_difference
from semscale_pl.studies.pixels import Pixels, load_pixels
from semscale_pl.studies.running import StudyFailedError, tracked
from semscale_pl.tables.cells import Table, parse_table
from semscale_pl.volumes import semantic_scale

BASELINE = "random"
_Choice = tuple[str, int, int]  # method, k, seed


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Choose, train and compare.

    Args:
        arguments: ``dataset``, ``side`` of the images as features, ``pool`` (candidates of a class, drawn anew for
            each seed), ``sizes`` (k), ``methods``, ``seeds``, ``epochs`` (one for each size), ``keep_volume``,
            ``overrides`` of the training.
        folder: keeps the lists and the trainings.
        jobs: worker processes.
        progress: is told how far the study is.

    Returns:
        ``entries``, one for each size and method, and what shrinking to ``keep_volume`` leaves.

    Raises:
        ValueError: an argument is wrong.
        StudyFailedError: a training failed.

    Reference: Ma et al. (ICLR 2023), appendix I1.
    """
    check(arguments)
    from semscale_pl.tables.engine import run_table

    data = load_pixels(arguments["dataset"], "train", arguments["side"])
    pools = {seed: draw_pool(data, arguments["pool"], seed) for seed in arguments["seeds"]}
    choices = dict(tracked(_choices(arguments, data, pools), _num_choices(arguments), progress, "choice"))
    table = table_of(arguments, _write_lists(choices, folder))
    outcome = run_table(table, folder / "tables", jobs=jobs)
    if outcome.failures:
        raise StudyFailedError(f"{len(outcome.failures)} trainings failed; the same command tries them again.")
    found = {(run.cell.row, run.cell.seed): run.metrics() or {} for run in outcome.runs}
    accuracies = {
        (method, size, seed): 100.0 * found[row_name(method, size), seed]["results"]["last"]["balanced_accuracy"]
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


def draw_pool(data: Pixels, size: int, seed: int) -> list[torch.Tensor]:
    """Draw the candidates of every class.

    Args:
        data: the training images.
        size: candidates of a class; all of a smaller class.
        seed: of the draw.

    Returns:
        For each class, positions in the training split.
    """
    pools = []
    for label in range(len(data.class_names)):
        members = (data.labels == label).nonzero().flatten()
        pools.append(members[random_rows(len(members), min(size, len(members)), derive_seed(seed, label))])
    return pools


def table_of(arguments: Mapping[str, Any], lists: Path) -> Table:
    """Return the trainings as a table, one row for each method and size.

    Args:
        arguments: see :func:`run`.
        lists: folder with METHOD_SIZE_SEED.json.
    """
    rows = [
        {
            "name": row_name(method, size),
            "overrides": [
                f"trainer.max_epochs={epochs}",
                "imbalance=listed",
                f"imbalance.file={lists.as_posix()}/{method}_{size}_${{seed}}.json",
            ],
        }
        for size, epochs in zip(arguments["sizes"], arguments["epochs"], strict=True)
        for method in arguments["methods"]
    ]
    return parse_table(
        {
            "name": "subset_selection",
            "base": [f"dataset={arguments['dataset']}", "logger=csv", *arguments["overrides"]],
            "rows": rows,
            "seeds": list(arguments["seeds"]),
            "measures": [{"name": "balanced accuracy", "key": "results.last.balanced_accuracy"}],
        }
    )


def row_name(method: str, size: int) -> str:
    """Return the name of a method's row at one size."""
    return f"{method} k={size}"


def entries(
    arguments: Mapping[str, Any], accuracies: Mapping[_Choice, float], volumes: Mapping[_Choice, tuple[float, float]]
) -> list[dict[str, Any]]:
    """Compare the methods at each size.

    Args:
        arguments: see :func:`run`.
        accuracies: per cent, of each method, size and seed.
        volumes: S' and coverage in bits, averaged over the classes, of each method, size and seed.

    Returns:
        Plain data; p-values are adjusted for the rivals of one size (Holm).
    """
    result, seeds = [], arguments["seeds"]
    for size in arguments["sizes"]:
        baseline = [accuracies[BASELINE, size, seed] for seed in seeds]
        block = []
        for method in arguments["methods"]:
            values = [accuracies[method, size, seed] for seed in seeds]
            entry = {"method": method, "size": size, "values": values, "accuracy": mean_interval(values)._asdict()}
            entry["scale"] = sum(volumes[method, size, seed][0] for seed in seeds) / len(seeds)
            entry["coverage"] = sum(volumes[method, size, seed][1] for seed in seeds) / len(seeds)
            if method != BASELINE:
                entry["difference"] = paired_difference(values, baseline)._asdict()
            block.append(entry)
        rivals = [entry["difference"] for entry in block if "difference" in entry]
        if rivals and all(rival["p_value"] is not None for rival in rivals):
            for rival, p_value in zip(rivals, holm([rival["p_value"] for rival in rivals]), strict=True):
                rival["holm"] = p_value
        result += block
    return result


def _num_choices(arguments: Mapping[str, Any]) -> int:
    return len(arguments["methods"]) * len(arguments["sizes"]) * len(arguments["seeds"])


def _choices(
    arguments: Mapping[str, Any], data: Pixels, pools: Mapping[int, Sequence[torch.Tensor]]
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
    data: Pixels, pools: Mapping[int, Sequence[torch.Tensor]], choices: Mapping[_Choice, Sequence[torch.Tensor]]
) -> dict[_Choice, tuple[float, float]]:
    result = {}
    for (method, size, seed), chosen in choices.items():
        scales = [float(semantic_scale(data.features[rows])) for rows in chosen]
        covered = []
        for members, rows in zip(pools[seed], chosen, strict=True):
            places = torch.isin(members, rows).nonzero().flatten()
            covered.append(float(coverage(data.features[members], places)))
        result[method, size, seed] = (sum(scales) / len(scales), sum(covered) / len(covered))
    return result


def _shrunk(
    arguments: Mapping[str, Any], data: Pixels, pools: Mapping[int, Sequence[torch.Tensor]]
) -> list[dict[str, Any]]:
    """Shrink the first seed's pool with every method, as far as ``keep_volume`` allows."""
    rows = torch.cat(list(pools[arguments["seeds"][0]]))
    result = []
    for method in arguments["methods"]:
        kept = shrink(data.features[rows], data.labels[rows], arguments["keep_volume"], method)
        shares = kept.scales / kept.full_scales
        result.append({"method": method, "counts": kept.counts.tolist(), "least_share": float(shares.min())})
    return result
