"""Clustering equals scikit-learn's k-means with the same seeds, in any order of the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from semscale_pl.metrics import ClusteringReport


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images[:400]).float(), torch.from_numpy(labels[:400])


def test_the_best_restart_is_that_of_scikit_learn() -> None:
    rows, labels = digits()
    metric = ClusteringReport(restarts=4, seed=3, progress=False)
    metric.update(rows, labels)
    found = metric.compute()
    assert (found["num_samples"], found["num_clusters"]) == (400, 10)
    units = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    units = units[np.argsort([row.tobytes() for row in units], kind="stable")]
    truth = {
        row.tobytes(): int(label)
        for row, label in zip((rows / rows.norm(dim=1, keepdim=True)).numpy(), labels, strict=True)
    }
    names = [truth[row.tobytes()] for row in units]
    runs = [KMeans(10, n_init=1, random_state=seed).fit(units) for seed in range(3, 7)]
    nmi = [normalized_mutual_info_score(names, run.labels_) for run in runs]
    ami = [adjusted_mutual_info_score(names, run.labels_) for run in runs]
    best = int(np.argmin([run.inertia_ for run in runs]))
    assert found["nmi"]["restarts"] == pytest.approx(nmi, abs=1e-9)
    assert found["ami"]["restarts"] == pytest.approx(ami, abs=1e-9)
    assert (found["nmi"]["best"], found["ami"]["best"]) == pytest.approx((nmi[best], ami[best]), abs=1e-9)
    low, high = found["nmi"]["low"], found["nmi"]["high"]
    assert low is not None
    assert high is not None
    assert low < np.mean(nmi) < high


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, labels = digits()
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    first, second = (ClusteringReport(restarts=2, progress=False) for _ in range(2))
    first.update(rows, labels)
    for part in shuffled.split(90):
        second.update(rows[part] * 2, labels[part])
    assert first.compute() == second.compute()


def test_separate_classes_are_found_and_one_restart_has_no_interval() -> None:
    metric = ClusteringReport(restarts=1, progress=False)
    metric.update(torch.eye(3).repeat_interleave(5, 0), torch.tensor([4] * 5 + [9] * 5 + [7] * 5))
    found = metric.compute()
    assert found["nmi"] == {
        "mean": pytest.approx(1),
        "low": None,
        "high": None,
        "best": pytest.approx(1),
        "restarts": [pytest.approx(1)],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.eye(3), "Expected rows of at least 2 classes to cluster, but got 1."),
        (torch.zeros(3, 2), "3 of 3 rows are zero"),
        (torch.full((3, 2), math.nan), "3 of 3 rows hold NaN or infinity"),
        (torch.zeros(0, 2), "Expected rows of at least 2 classes to cluster, but got 0."),
    ],
)
def test_refusals(rows: torch.Tensor, message: str) -> None:
    metric = ClusteringReport()
    metric.update(rows, torch.zeros(len(rows), dtype=torch.int64))
    with pytest.raises(ValueError, match=message):
        metric.compute()
