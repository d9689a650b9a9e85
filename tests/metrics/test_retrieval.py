"""Retrieval equals brute force over all orders of ties, and another library where definitions agree."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from semscale_pl.metrics import RetrievalReport, ranking


def brute_force(
    queries: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    ks: tuple[int, ...],
    same: bool,
) -> dict[str, float]:
    """Rank by numpy alone and average over all orders where rows tie."""
    unit, others = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (queries, gallery)
    )
    cosines = np.array([[math.fsum(a * b) for b in others] for a in unit]).astype(np.float32)
    sums = []
    for query, row in enumerate(cosines):
        places = [place for place in range(len(others)) if not (same and place == query)]
        relevant = [gallery_labels[place] == labels[query] for place in places]
        values = [row[place] for place in places]
        indices = range(len(places))
        orders = [tuple(indices)] if len(set(values)) == len(values) else list(permutations(indices))
        found = []
        for order in orders:
            ranked = [relevant[place] for place in sorted(order, key=lambda place: -values[place])]
            total = sum(ranked)
            precisions = [sum(ranked[: place + 1]) / (place + 1) for place in range(total) if ranked[place]]
            recalls = [float(any(ranked[:k])) for k in ks]
            found.append([*recalls, sum(precisions) / total, sum(ranked[:total]) / total])
        sums.append(np.mean(found, axis=0))
    means = np.mean(sums, axis=0)
    return dict(zip([*map(str, ks), "map_at_r", "r_precision"], means, strict=True))


def flat(metric: RetrievalReport) -> dict[str, float]:
    found = metric.compute()
    return {**found["recall"], "map_at_r": found["map_at_r"], "r_precision": found["r_precision"]}


def report_of(
    queries: Tensor, labels: Tensor, ks: tuple[int, ...], gallery: tuple[Tensor, Tensor] | None = None
) -> RetrievalReport:
    metric = RetrievalReport(ks, progress=False)
    for rows, names in zip(queries.split(7), labels.split(7), strict=True):
        metric.update(rows, names)
    if gallery is not None:
        metric.add_gallery(*gallery)
    return metric


def clusters(rows: int, classes: int, seed: int, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=generator)
    noise = torch.randn(rows, width, generator=generator)
    shuffled = torch.randperm(rows, generator=generator)
    return (centres[labels] + noise)[shuffled], labels[shuffled]


@pytest.mark.parametrize("tile", [2**22, 60])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_rows_equal_brute_force(seed: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TILE", tile)
    monkeypatch.setattr(ranking, "QUERIES", 6 if tile == 60 else 512)
    rows, labels = clusters(60, 6, seed)
    ks = (1, 2, 4, 8, 59)
    expected = brute_force(rows.numpy(), labels.numpy(), rows.numpy(), labels.numpy(), ks, True)
    assert flat(report_of(rows, labels, ks)) == pytest.approx(expected, abs=1e-12)
    queries, others = slice(0, 20), slice(20, 60)
    found = report_of(rows[queries], labels[queries], (1, 3, 40), (rows[others], labels[others]))
    arrays = (rows[queries].numpy(), labels[queries].numpy(), rows[others].numpy(), labels[others].numpy())
    assert flat(found) == pytest.approx(brute_force(*arrays, (1, 3, 40), False), abs=1e-12)


@pytest.mark.parametrize("tile", [2**22, 3])
@pytest.mark.parametrize("seed", range(6))
def test_ties_and_duplicates_count_as_the_mean_over_all_orders(
    seed: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "TILE", tile)
    generator = torch.Generator().manual_seed(seed)
    # Six rows in few directions, in unequal lengths: most tie, and some are the query's own duplicates.
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    rows = directions[torch.randint(3, (6,), generator=generator)] * torch.rand(6, 1, generator=generator).add(0.5)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])[torch.randperm(6, generator=generator)]
    expected = brute_force(rows.numpy(), labels.numpy(), rows.numpy(), labels.numpy(), (1, 2, 3, 5), True)
    assert flat(report_of(rows, labels, (1, 2, 3, 5))) == pytest.approx(expected, abs=1e-12)
    if seed < 2:
        arrays = (rows[:3].numpy(), torch.tensor([0, 1, 0]).numpy(), rows.numpy(), labels.numpy())
        found = report_of(rows[:3], torch.tensor([0, 1, 0]), (1, 2, 5), (rows, labels))
        assert flat(found) == pytest.approx(brute_force(*arrays, (1, 2, 5), False), abs=1e-12)


def test_equal_rows_give_the_share_of_their_class() -> None:
    labels = torch.tensor([0] * 30 + [1] * 70)
    found = report_of(torch.ones(100, 4), labels, (1, 2)).compute()
    assert found["r_precision"] == pytest.approx((30 * 29 + 70 * 69) / 100 / 99)
    missed = (30 * (70 * 69) + 70 * (30 * 29)) / 100 / (99 * 98)
    assert found["recall"]["2"] == pytest.approx(1 - missed)
    assert found["per_class"]["0"] == {"recall_at_1": pytest.approx(29 / 99), "num_queries": 30}
    assert found["balanced_recall_at_1"] == pytest.approx((29 / 99 + 69 / 99) / 2)


def test_neither_order_nor_lengths_nor_precision_of_the_rows_matter() -> None:
    rows, labels = clusters(80, 4, 3)
    rows = torch.cat([rows, rows[:20]]).half()
    labels = torch.cat([labels, labels[:20].flip(0)])
    expected = report_of(rows, labels, (1, 4)).compute()
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    assert report_of(rows[shuffled], labels[shuffled], (1, 4)).compute() == expected
    assert report_of(rows.double() * 8, labels, (4, 1)).compute() == expected


def test_another_library_agrees_without_ties() -> None:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    rows, labels = clusters(300, 7, 4, width=16)
    rows = torch.nn.functional.normalize(rows)
    names = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    calculator = AccuracyCalculator(
        include=names, k="max_bin_count", device=torch.device("cpu"), knn_func=CustomKNN(_cosine())
    )
    both = calculator.get_accuracy(rows, labels)
    found = flat(report_of(rows, labels, (1,)))
    assert [found["1"], found["map_at_r"], found["r_precision"]] == pytest.approx([both[n] for n in names], abs=1e-9)
    apart = calculator.get_accuracy(rows[:90], labels[:90], rows[90:], labels[90:], ref_includes_query=False)
    found = flat(report_of(rows[:90], labels[:90], (1,), (rows[90:], labels[90:])))
    assert [found["1"], found["map_at_r"], found["r_precision"]] == pytest.approx([apart[n] for n in names], abs=1e-9)


def _cosine() -> object:
    from pytorch_metric_learning.distances import CosineSimilarity

    return CosineSimilarity()


def test_a_report_goes_on_and_begins_anew() -> None:
    rows, labels = clusters(40, 4, 5)
    metric = report_of(rows[:20], labels[:20], (1,))
    metric.compute()
    metric.update(rows[20:], labels[20:])
    whole = report_of(rows, labels, (1,)).compute()
    assert metric.compute() == whole
    metric.reset()
    metric.forward(rows, labels)
    assert metric.compute() == whole
    metric.add_gallery(rows, labels)
    assert metric.compute()["recall"]["1"] > whole["recall"]["1"]  # now a query finds its duplicate


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (torch.zeros(0, 3), [], "Expected embeddings to search with, but got none."),
        (torch.eye(4), [0, 0, 1, 2], r"2 have none, for example class 1\."),
        (torch.tensor([[1.0, 0], [0, 0], [0, 1], [1, 1]]), [0, 0, 0, 0], r"1 of 4 rows are zero"),
        (torch.tensor([[1.0, 0], [math.nan, 0], [math.inf, 1], [1, 1]]), [0, 0, 0, 0], r"2 of 4 rows hold NaN"),
        (torch.eye(4)[:2], [0, 0], "at most 1, the gallery images that a query can find, but got 2. Lower it."),
    ],
)
def test_refusals_are_one_line(rows: Tensor, labels: list[int], message: str) -> None:
    metric = RetrievalReport((1, 2))
    metric.update(rows, torch.tensor(labels, dtype=torch.int64))
    with pytest.raises(ValueError, match=message) as caught:
        metric.compute()
    assert "\n" not in str(caught.value)


def test_refusals_of_a_gallery_and_of_arguments() -> None:
    metric = RetrievalReport((1,), class_names=["cat", "dog"])
    metric.update(torch.eye(2), torch.tensor([0, 1]))
    metric.add_gallery(torch.eye(2), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"Expected every class to have an image in the gallery.*class 'dog'"):
        metric.compute()
    metric.add_gallery(torch.eye(3)[:1, :2], torch.tensor([1]))
    assert metric.compute()["num_gallery"] == 3
    wide = RetrievalReport((1,))
    wide.update(torch.eye(2), torch.tensor([0, 1]))
    wide.add_gallery(torch.eye(3), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="of one width, but got 2 and 3 features"):
        wide.compute()
    for ks in ((), (0,), (1.5,)):
        with pytest.raises(ValueError, match="Expected `ks` to be a list"):
            RetrievalReport(ks)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected an integer label for each of 2 embeddings"):
        RetrievalReport().update(torch.eye(2), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="Expected embeddings of shape"):
        RetrievalReport().update(torch.ones(3), torch.tensor([0, 1, 2]))
