"""Correlations over published trainings: which quantity of a class goes with its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale_pl.config.composing import experiments_dir
from semscale_pl.figures.style import PALETTE, finite, means_and_reaches, new_figure
from semscale_pl.options import RULES, check
from semscale_pl.resampling import OverClasses, TwoWayDraws, stacked
from semscale_pl.statistics import mean_interval, paired_difference, pearson, spearman
from semscale_pl.studies.running import Report
from semscale_pl.tables import publishing

KINDS = {"pearson": pearson, "spearman": spearman}
CONTRASTS = (("S'", "n"), ("S'", "log n"), ("S'", "E_n"), ("S", "n"), ("S", "log n"), ("S", "S'"))
# What an interval says, by what was resampled.
COVERS = {
    "trainings": "Intervals cover trainings: these classes, trained anew with other seeds. They say nothing of others.",
    "both": (
        "Intervals cover classes and trainings: other classes such as these, trained anew (both resampled, two-way "
        "bootstrap, percentiles expanded for the number of classes)."
    ),
}
_BASELINE = "CE"
_MOST_COLUMNS = 3
# Closer to 1, what is left is rounding.
_EXACT = 1.0 - 1e-12


def class_quantities(record: Mapping[str, Any], alphas: Sequence[float] = (1.0,)) -> dict[str, list[float]]:
    """Collect what a run's record says of its classes.

    Args:
        record: a run's ``metrics.json``.
        alphas: of the inter-class weights in S, each at least 1. The record's W has alpha 1, from which any other
            follows: W' / max W' = 2^W - 1.

    Returns:
        ``n``, ``log n``, ``E_n``, ``S'``, ``W`` and ``S`` for each alpha (``S, alpha=2``; alpha 1 is plain ``S``), each
        with C values, NaN where undefined.

    Raises:
        ValueError: an alpha is below 1.

    Reference: Ma et al. (ICLR 2023), section 3.4, Table 1.
    """
    for alpha in alphas:
        RULES["alpha"].check("alphas", alpha)
    scales, weights = (finite(record["scales"][name]) for name in ("S'", "W"))
    largest = np.nanmax(scales) if np.isfinite(scales).any() else math.nan
    relative = scales / largest if largest > 0 else scales
    counts = finite(record["class_counts"])
    found = {
        "n": counts,
        # Accuracy is no straight line over counts; a quantity that beats n should also beat its logarithm.
        "log n": np.log(np.where(counts > 0, counts, math.nan)),
        "E_n": finite(record["effective_numbers"]["E_n"]),
        "S'": scales,
        "W": weights,
    }
    for alpha in alphas:
        name = "S" if alpha == 1.0 else f"S, alpha={alpha:g}"
        found[name] = relative * np.log2(alpha + np.exp2(weights) - 1.0)
    return {name: values.tolist() for name, values in found.items()}


def accuracy_correlations(record: Mapping[str, Any], alphas: Sequence[float] = (1.0,)) -> dict[str, dict[str, Any]]:
    """Correlate the class accuracies of a run's last epoch with each of :func:`class_quantities`.

    Returns:
        Quantity to ``pearson`` and ``spearman``; None where undefined, as for n on balanced data.
    """
    accuracy = finite(record["results"]["last"]["per_class"]["accuracy"]).tolist()
    return {
        name: {kind: correlate(values, accuracy).value for kind, correlate in KINDS.items()}
        for name, values in class_quantities(record, alphas).items()
    }


def mean_correlation(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Average correlations of several trainings after Fisher's transformation.

    A correlation of 1 or -1, which ten classes in the very order of their accuracies have, has no finite transform:
    then the correlations themselves are averaged, and the interval ends at 1 and -1.

    Args:
        values: one a training; None is left out.

    Returns:
        ``mean``, its 95 % Student interval ``low`` and ``high`` (None for fewer than two), and ``n``.

    Example:
        >>> mean_correlation([0.5, 0.5, None])["n"]
        2
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None, "n": 0}
    transformed = max(map(abs, known)) < _EXACT
    interval = mean_interval([math.atanh(value) for value in known] if transformed else known)

    def back(value: float) -> float:
        return math.tanh(value) if transformed else min(max(value, -1.0), 1.0)

    low, high = (None if bound is None else back(bound) for bound in (interval.low, interval.high))
    return {"mean": back(interval.mean), "low": low, "high": high, "n": interval.n}


def compare_quantities(
    trainings: Sequence[Mapping[str, Mapping[str, float | None]]], first: str, second: str, kind: str
) -> dict[str, Any] | None:
    """Compare how well two quantities go with accuracy, training by training.

    Args:
        trainings: of :func:`accuracy_correlations`, one a training.
        first: a quantity.
        second: the one it is compared with.
        kind: of :data:`KINDS`.

    Returns:
        The mean difference of the correlations, first minus second, with its 95 % interval and p-value; None where no
        training has both.
    """
    pairs = [(found[first][kind], found[second][kind]) for found in trainings]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return None
    ones, others = zip(*known, strict=True)
    return paired_difference(ones, others)._asdict()


def summarise(
    trainings: Sequence[Mapping[str, Mapping[str, float | None]]], contrasts: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Average the correlations of one model on one dataset over its seeds.

    Args:
        trainings: of :func:`accuracy_correlations`, one a seed.
        contrasts: pairs of quantities to compare.

    Returns:
        ``quantities``: quantity to kind to :func:`mean_correlation`; ``contrasts``: see :func:`compare_quantities`.
    """
    return {
        "quantities": {
            name: {kind: mean_correlation([found[name][kind] for found in trainings]) for kind in KINDS}
            for name in trainings[0]
        },
        "contrasts": [
            {"first": first, "second": second, **{k: compare_quantities(trainings, first, second, k) for k in KINDS}}
            for first, second in contrasts
        ],
    }


def summarise_over_classes(
    records: Sequence[Mapping[str, Any]], alphas: Sequence[float], contrasts: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Do what :func:`summarise` does, with intervals that cover classes as well as trainings.

    Args:
        records: of the trainings, which have the same classes.
        alphas: see :func:`class_quantities`.
        contrasts: pairs of quantities to compare.

    Returns:
        As :func:`summarise`, of comparisons the mean and its interval alone, each with its ``num_classes``.

    Reference: Owen (Annals of Applied Statistics 2007) for the draws.
    """
    accuracy = stacked([record["results"]["last"]["per_class"]["accuracy"] for record in records])
    found = [class_quantities(record, alphas) for record in records]
    draws = TwoWayDraws(*accuracy.shape)
    values = {name: stacked([one[name] for one in found]) for name in found[0]}
    known = {name: int(np.isfinite(rows + accuracy).sum(axis=1).min()) for name, rows in values.items()}
    drawn = {(name, kind): draws.correlations(rows, accuracy, kind) for name, rows in values.items() for kind in KINDS}

    def compare(first: str, second: str, kind: str) -> OverClasses:
        fewest = min(known[first], known[second])
        return draws.difference(drawn[first, kind], drawn[second, kind], num_classes=fewest)

    return {
        "quantities": {
            name: {kind: draws.mean(drawn[name, kind], num_classes=known[name])._asdict() for kind in KINDS}
            for name in values
        },
        "contrasts": [
            {"first": first, "second": second, **{kind: compare(first, second, kind)._asdict() for kind in KINDS}}
            for first, second in contrasts
        ],
    }


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Correlate class accuracies with n, E_n, S', W and S in every training of published tables.

    Args:
        arguments: ``results`` (folders of published tables, or their names in experiments/results/), ``rows`` (those to
            take; empty takes all), ``alphas`` of S, ``resample``: what intervals cover, ``trainings`` or ``both``,
            classes and trainings.

    Returns:
        ``groups``, one for each table, column and row, with means and intervals over the seeds; with ``both`` also
        ``over_classes``. ``covers`` says in a sentence what the intervals that are drawn cover.

    Raises:
        ValueError: a table is not there, or has none of the rows, or an argument is out of range.

    Reference: Ma et al. (ICLR 2023), section 3.4, Table 1.
    """
    groups, resample = [], arguments.get("resample", "trainings")
    check(resample=resample)
    for name in arguments["results"]:
        cells = read_cells(name)
        kept = [cell for cell in cells if not arguments["rows"] or cell["row"] in arguments["rows"]]
        if not kept:
            rows = sorted({cell["row"] for cell in cells})
            raise ValueError(f"Expected `rows` to name rows of {name}, but got {arguments['rows']}. Rows: {rows}.")
        progress(f"{name}: {len(kept)} trainings")
        groups += groups_of(Path(name).name, kept, arguments["alphas"], resample == "both")
    return {"groups": groups, "alphas": arguments["alphas"], "resample": resample, "covers": COVERS[resample]}


def groups_of(
    name: str, cells: list[dict[str, Any]], alphas: list[float], over_classes: bool = False
) -> list[dict[str, Any]]:
    """Summarise the trainings of the table ``name`` by column and row; ``cells`` are those of :func:`read_cells`."""
    trainings: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        trainings.setdefault((cell["column"], cell["row"]), []).append(cell["record"])
    groups = []
    for (column, row), records in trainings.items():
        config = records[0]["config"]
        groups.append(
            {
                "table": name,
                "column": column,
                "row": row,
                "dataset": config["dataset"]["name"],
                "backbone": config["backbone"]["_target_"].rpartition(".")[2],
                "seeds": [record["seed"] for record in records],
                "num_classes": records[0]["num_classes"],
                **summarise([accuracy_correlations(record, alphas) for record in records], CONTRASTS),
                **({"over_classes": summarise_over_classes(records, alphas, CONTRASTS)} if over_classes else {}),
            }
        )
    return groups


def read_cells(name: str) -> list[dict[str, Any]]:
    """Read row, column and record of each training in a folder with ``cells.json``, or in experiments/results/NAME.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    folder = Path(name) if (Path(name) / publishing.CELLS).is_file() else experiments_dir() / "results" / name
    if not (folder / publishing.CELLS).is_file():
        raise ValueError(
            f"Expected the cells of a published table in {str(folder)!r}, but found none. Run `semscale table NAME "
            "publish=true`."
        )
    return [
        {"row": cell.row, "column": cell.column, "record": record}
        for cell, record in publishing.read_cells(folder / publishing.CELLS)
        if record is not None
    ]


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw each table's correlations: the baseline with its interval over seeds, the other methods as small marks."""
    tables: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for group in result["groups"]:
        tables.setdefault((group["table"], group["column"]), []).append(group)
    columns = min(_MOST_COLUMNS, len(tables))
    rows = -(-len(tables) // columns)
    figure, axes = new_figure(4.6 * columns + 0.6, 3.8 * rows, rows, columns, sharey=True)
    for ax, groups in zip(axes, tables.values(), strict=False):
        _draw_table(ax, groups)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    for ax in axes[::columns]:
        ax.set_ylabel("correlation with class accuracy")
    axes[0].legend(fontsize=8, loc="lower left", framealpha=0.8, edgecolor="none")
    return figure


def _draw_table(ax: Axes, groups: Sequence[Mapping[str, Any]]) -> None:
    baseline = next((group for group in groups if group["row"] == _BASELINE), groups[0])
    names = list(baseline["quantities"])
    for step, kind in enumerate(KINDS):
        label = kind.capitalize()
        x = np.arange(len(names)) + 0.3 * (step - 0.5)
        for group in groups:
            if group is not baseline:
                means = finite([group["quantities"][name][kind]["mean"] for name in names])
                ax.plot(x, means, ".", color=PALETTE[step], alpha=0.35, markersize=4)
        shown = baseline.get("over_classes", baseline)
        means, reach = means_and_reaches(shown["quantities"][name][kind] for name in names)
        covered = "classes and seeds" if "over_classes" in baseline else "seeds"
        text = f"{label}, {baseline['row']} with 95 % interval over {covered}"
        ax.errorbar(x, means, yerr=reach, fmt="os"[step], color=PALETTE[step], markersize=5, capsize=2, label=text)
        if len(groups) > 1:
            ax.plot([], [], ".", color=PALETTE[step], alpha=0.35, label=f"{label}, other methods")
    ax.axhline(0.0, color="#999999", linewidth=0.8)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(-1.05, 1.05))
    classes = f"{baseline['dataset']}, {baseline['num_classes']} classes, {len(baseline['seeds'])} seeds"
    ax.set_title(f"{baseline['table']}: {classes}", fontsize=9)
