"""The collection advisor put to the test: real samples are hidden and revealed as it says, or as rivals say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.figures.comparison import draw_intervals
from semscale_pl.figures.style import PALETTE, finite, means_and_reaches, new_figure, series_style
from semscale_pl.geometry import semantic_scales
from semscale_pl.seeding import derive_seed
from semscale_pl.statistics import mean_interval, paired_difference, pearson
from semscale_pl.studies.advisor.simulation import MEASURED, POLICIES, Collection, Reveal, collect, long_tail, stops
from semscale_pl.studies.running import Report, adjust_p_values, tracked
from semscale_pl.training.image_features import load_pixels

ADVISOR = "advisor"
NAMES = {
    "start": "start, nothing added",
    "advisor": "advisor",
    "advisor_bits": "advisor, bits",
    "starved": "fewest images first",
    "uniform": "every class in turn",
    "proportional": "as at the start",
}
_SHOWN_POINTS = 400


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Simulate collections on several datasets.

    Args:
        arguments: ``datasets``, a list of mappings with ``dataset``, ``side``, ``seeds``, ``most`` and ``least``
            (samples of a class at the start), ``batch``, ``budget``, ``stop_classes``, ``stop_batch`` and
            ``thresholds``.

    Returns:
        ``datasets``, one entry each: predictions, stops and accuracies.

    Raises:
        ValueError: a budget is no whole number of batches.

    Reference: Ma et al. (ICLR 2023), appendix I2, for the rule that is tested.
    """
    for settings in arguments["datasets"]:
        if settings["budget"] % settings["batch"] or settings["budget"] < settings["batch"]:
            batches = f"a whole number of batches of {settings['batch']}"
            raise ValueError(f"Expected `budget` to be {batches}, but got {settings['budget']}.")
    return {"datasets": [_one(settings, progress) for settings in arguments["datasets"]]}


def _one(settings: Mapping[str, Any], progress: Report) -> dict[str, Any]:
    name = settings["dataset"]
    train, test = (load_pixels(name, split, settings["side"]) for split in ("train", "test"))

    def seeds(what: str) -> Iterator[int]:
        return tracked(settings["seeds"], len(settings["seeds"]), progress, f"{name}: {what}")

    outcomes = [simulate(train, test, settings, seed) for seed in seeds("collection")]
    rules = [_stops_of_seed(train, settings, seed) for seed in seeds("stop rule")]
    return {
        **settings,
        "prediction": {policy: prediction([outcome["reveals"][policy] for outcome in outcomes]) for policy in MEASURED},
        "policies": policies(outcomes),
        "stops": _averaged(rules, lambda values: mean_interval(values)._asdict()),
    }


def simulate(train: LoadedFeatures, test: LoadedFeatures, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Spend one budget in every policy's way, from the same start and with the same hidden order.

    Returns:
        Accuracy (per cent) and mean S' (bits) by policy, those at the start, and the predictions.
    """
    num_classes = len(train.class_names)
    counts = long_tail(num_classes, settings["most"], settings["least"], seed)
    result: dict[str, Any] = {"accuracy": {}, "scale": {}, "least": {}, "reveals": {}}
    for policy in ("start", *POLICIES):
        collection = Collection(train.features, train.labels, counts, settings["batch"], derive_seed(seed))
        if policy != "start":
            result["reveals"][policy] = collect(collection, policy, settings["budget"])
        rows = collection.rows()
        features, labels = train.features[rows], train.labels[rows]
        result["accuracy"][policy] = accuracy_of(features, labels, test)
        result["scale"][policy] = float(semantic_scales(features, labels, num_classes).mean())
        result["least"][policy] = min(collection.counts)
    return result


def accuracy_of(features: torch.Tensor, labels: torch.Tensor, test: LoadedFeatures) -> float:
    """Train a logistic regression on features (n, d) and return its balanced test accuracy in per cent."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    model = LogisticRegression(max_iter=100)
    with warnings.catch_warnings():
        # A hundred steps are the same stop for every policy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features.numpy(), labels.numpy())
    return 100.0 * float(balanced_accuracy_score(test.labels.numpy(), model.predict(test.features.numpy())))


def prediction(reveals: Sequence[Sequence[Reveal]]) -> dict[str, Any]:
    """Compare predicted with revealed increments, given for each seed.

    Returns:
        Intervals over the seeds of the correlation, of the ratio of the sums, and of the mean absolute error relative
        to the mean revealed increment, for the curve and for the increment of the batch before; and points to show.
    """
    result: dict[str, Any] = {}
    for key in ("predicted", "naive"):
        pairs = [np.array([(getattr(entry, key), entry.revealed) for entry in part]).T for part in reveals if part]
        correlations = [pearson(x.tolist(), y.tolist()).value for x, y in pairs]
        result[key] = {
            "ratio": mean_interval([float(x.sum() / y.sum()) for x, y in pairs])._asdict(),
            "error": mean_interval([float(np.abs(x - y).mean() / y.mean()) for x, y in pairs])._asdict(),
            "correlation": mean_interval([value for value in correlations if value is not None])._asdict(),
        }
    points = [[entry.predicted, entry.revealed] for part in reveals for entry in part]
    chosen = np.random.default_rng(0).permutation(len(points))[:_SHOWN_POINTS]
    return {**result, "batches": len(points), "points": [points[number] for number in sorted(chosen)]}


def policies(outcomes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Summarise the outcomes of :func:`simulate`, one a seed.

    Returns:
        For each policy accuracy and mean S' with intervals, and the advisor's paired difference to it in accuracy,
        p-values adjusted for the rivals (Holm).
    """
    result = []
    ours = [outcome["accuracy"][ADVISOR] for outcome in outcomes]
    for policy in outcomes[0]["accuracy"]:
        values = [outcome["accuracy"][policy] for outcome in outcomes]
        entry: dict[str, Any] = {
            "policy": policy,
            "values": values,
            "accuracy": mean_interval(values)._asdict(),
            "scale": mean_interval([outcome["scale"][policy] for outcome in outcomes])._asdict(),
            "least": min(outcome["least"][policy] for outcome in outcomes),
        }
        if policy not in (ADVISOR, "start"):
            entry["advisor_less_this"] = paired_difference(ours, values)._asdict()
        result.append(entry)
    adjust_p_values([entry["advisor_less_this"] for entry in result if "advisor_less_this" in entry])
    return result


def _stops_of_seed(train: LoadedFeatures, settings: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Return count and missing share of each rule and threshold, averaged over the classes."""
    found = []
    for label in range(settings["stop_classes"]):
        members = (train.labels == label).nonzero().flatten()
        order = np.random.default_rng(derive_seed(seed, label)).permutation(len(members))
        samples = train.features[members[torch.from_numpy(order)]]
        found.append(stops(samples, settings["stop_batch"], settings["thresholds"], derive_seed(seed, label, 1)))
    return _averaged(found, fmean)


def _averaged(
    lists: Sequence[Sequence[Mapping[str, Any]]], average: Callable[[list[float]], Any]
) -> list[dict[str, Any]]:
    """Average count and missing share of each rule and threshold over lists of them."""
    return [
        {**entries[0], **{part: average([entry[part] for entry in entries]) for part in ("count", "left")}}
        for entries in zip(*lists, strict=True)
    ]


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw predicted against revealed increments, what a stop leaves, and accuracy at equal budget, a row a dataset."""
    rows = result["datasets"]
    figure, axes = new_figure(11.0, 3.4 * len(rows), len(rows), 3)
    for number, entry in enumerate(rows):
        panels = axes[3 * number : 3 * number + 3]
        _predictions(panels[0], entry)
        _stops(panels[1], entry["stops"])
        _accuracies(panels[2], entry["policies"])
        titles = (
            f"a batch of {entry['batch']}",
            f"where the rule stops, batches of {entry['stop_batch']}",
            f"after {entry['budget']} further images",
        )
        for ax, title in zip(panels, titles, strict=True):
            ax.set_title(f"{entry['dataset']}: {title}", fontsize=9)
    return figure


def _predictions(ax: Axes, entry: Mapping[str, Any]) -> None:
    found = entry["prediction"]["uniform"]
    points = finite(found["points"])
    ax.scatter(points[:, 0], points[:, 1], s=8, color=PALETTE[0], alpha=0.5, linewidths=0)
    reach = [0.0, float(points.max())]
    ax.plot(reach, reach, color="#888888", linewidth=0.8, linestyle="--")
    value, error = found["predicted"]["correlation"]["mean"], found["predicted"]["error"]["mean"]
    ax.text(0.04, 0.96, f"r = {value:.2f}, error {100 * error:.0f} %", transform=ax.transAxes, va="top", fontsize=8)
    ax.set(xlabel="predicted increment of S' (bits)", ylabel="revealed (bits)")


def _stops(ax: Axes, stops: list[Any]) -> None:
    for number, rule in enumerate(dict.fromkeys(stop["rule"] for stop in stops)):
        rows = [stop for stop in stops if stop["rule"] == rule]
        left, reach = (100.0 * part for part in means_and_reaches(row["left"] for row in rows))
        counts = finite([row["count"]["mean"] for row in rows])
        colour, marker = series_style(number)
        ax.errorbar(counts, left, yerr=reach, color=colour, marker=marker, markersize=4, capsize=2, label=rule)
        if number == 0:
            for row, x, y in zip(rows, counts, left, strict=True):
                ax.annotate(f"{100 * row['threshold']:g} %", (x, y), (-4, -10), textcoords="offset points", fontsize=7,
                            ha="right")  # fmt: skip
    ax.set(ylim=(0.0, None), xlabel="images of a class at the stop", ylabel="S' still missing (%)")
    ax.legend(fontsize=8, frameon=False, title="threshold on the increment", title_fontsize=8)


def _accuracies(ax: Axes, policies: list[Any]) -> None:
    rows = [
        {"method": NAMES.get(row["policy"], row["policy"]), **row["accuracy"]}
        for row in policies
        if row["policy"] != "start"
    ]
    draw_intervals(ax, rows, "balanced accuracy (%)")
    ax.set_xlabel("balanced accuracy (%), 95 % interval")
