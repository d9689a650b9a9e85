"""What a report says of each class and of each pair of classes, as rows and as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from semscale_pl.files import csv_text
from semscale_pl.metrics.accuracy import shot_groups
from semscale_pl.metrics.report import Report
from semscale_pl.statistics import wilson_interval


class Confusion(NamedTuple):
    """Images of one class that the model takes for another."""

    true: int  # class index
    predicted: int
    images: int
    share: float  # of the true class's images


class ClassResult(NamedTuple):
    """What a report says of one class; None where it is undefined."""

    class_index: int
    class_name: str
    group: str | None  # many, medium or few by its training images
    n_train: int | None
    n_evaluated: int
    n_predicted: int
    accuracy: float | None
    accuracy_low: float | None  # of the 95 % score interval over its images
    accuracy_high: float | None
    precision: float | None
    average_precision: float | None
    most_confused_with: str | None
    num_confused: int | None


def confusions(report: Report) -> list[Confusion]:
    """Return the pairs of classes that are confused at all, the most frequent first.

    It is empty where the report has no confusion matrix, as above 1,000 classes.
    """
    found = [
        Confusion(true, predicted, count, count / sum(row))
        for true, row in enumerate(report["confusion_matrix"] or [])
        for predicted, count in enumerate(row)
        if count and predicted != true
    ]
    return sorted(found, key=lambda pair: (-pair.images, -pair.share, pair.true, pair.predicted))


def class_results(report: Report, names: Sequence[str]) -> list[ClassResult]:
    """Return a row for each of the (C,) classes, in the order of their indices."""
    found, counts = report["per_class"], report["class_counts"]
    groups = shot_groups(counts) if counts else {}
    group_of = {label: group for group, labels in groups.items() for label in labels}
    worst: dict[int, Confusion] = {}
    for pair in confusions(report):
        worst.setdefault(pair.true, pair)
    rows = []
    for label, name in enumerate(names):
        accuracy, total = found["accuracy"][label], found["num_samples"][label]
        low, high = (None, None) if accuracy is None else wilson_interval(round(accuracy * total), total)
        confused = worst.get(label)
        rows.append(
            ClassResult(
                label,
                name,
                group_of.get(label),
                counts[label] if counts else None,
                total,
                found["num_predicted"][label],
                accuracy,
                low,
                high,
                found["precision"][label],
                found["average_precision"][label],
                names[confused.predicted] if confused else None,
                confused.images if confused else None,
            )
        )
    return rows


def by_accuracy(rows: Sequence[ClassResult]) -> list[ClassResult]:
    """Sort classes by accuracy, the worst first; of equal ones that with the fewest training images, undefined last."""
    return sorted(rows, key=lambda row: (math.inf if row.accuracy is None else row.accuracy, row.n_train or 0))


def classes_csv(rows: Sequence[ClassResult]) -> str:
    """Return one line a class, in the order of the class indices; what is undefined is empty."""
    return csv_text([ClassResult._fields, *rows])


def confusions_csv(pairs: Sequence[Confusion], names: Sequence[str]) -> str:
    """Return one line for each pair of classes that are confused, the most frequent first."""
    head = ["true_index", "true_name", "predicted_index", "predicted_name", "count", "share"]
    lines = ([pair.true, names[pair.true], pair.predicted, names[pair.predicted], *pair[2:]] for pair in pairs)
    return csv_text([head, *lines])
