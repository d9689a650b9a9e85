"""The classification report against scikit-learn, torchmetrics and hand calculations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor

from semscale_pl.metrics import ClassificationReport, report

NUM_CLASSES = 11
COUNTS = [500, 300, 200, 101, 100, 50, 20, 19, 5, 1, 0]


def rows(num: int = 240, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits that are right about half the time, and labels of unequal frequency; all classes occur."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(num, generator=generator) ** 2 * NUM_CLASSES).long()
    labels[:NUM_CLASSES] = torch.arange(NUM_CLASSES)
    logits = torch.randn(num, NUM_CLASSES, generator=generator)
    logits[torch.arange(num), labels] += 1.5
    return logits, labels


def results(logits: Tensor, labels: Tensor, **kwargs: Any) -> dict[str, Any]:
    metric = ClassificationReport(NUM_CLASSES, **kwargs)
    for part in torch.arange(len(labels)).split(37):
        metric.update(logits[part], labels[part])
    found: dict[str, Any] = metric.compute()
    return found


def test_agrees_with_scikit_learn() -> None:
    logits, labels = rows()
    truth, guess = labels.numpy(), logits.argmax(dim=1).numpy()
    found = results(logits, labels)
    assert found["num_samples"] == 240
    assert found["top1"] == pytest.approx(reference.accuracy_score(truth, guess), rel=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess), rel=1e-12)
    assert found["confusion_matrix"] == reference.confusion_matrix(truth, guess).tolist()
    recall = reference.recall_score(truth, guess, average=None)
    precision = reference.precision_score(truth, guess, average=None, zero_division=0)
    np.testing.assert_allclose(found["per_class"]["accuracy"], recall, rtol=1e-12)
    np.testing.assert_allclose(found["per_class"]["precision"], precision, rtol=1e-12)
    assert found["mean_precision"] == pytest.approx(precision.mean(), rel=1e-12)
    assert found["worst_class_accuracy"] == pytest.approx(recall.min(), rel=1e-12)
    assert found["bias"] == pytest.approx(max(0, recall.max() / (recall.min() + 0.01) - 1), rel=1e-12)


def test_average_precision_agrees_with_scikit_learn_also_with_ties() -> None:
    logits, labels = rows()
    scores = (logits * 2).round()
    log_probabilities = scores.double().log_softmax(dim=1).numpy()
    found = results(scores, labels)["per_class"]["average_precision"]
    expected = [reference.average_precision_score(labels == c, log_probabilities[:, c]) for c in range(NUM_CLASSES)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_classes_are_reported_alike_but_for_the_confusions(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = rows(600)
    exact = results(logits, labels)
    monkeypatch.setattr(report, "LARGE", NUM_CLASSES - 1)
    large = results(logits, labels)
    assert large.pop("confusion_matrix") is None
    assert sum(map(sum, exact.pop("confusion_matrix"))) == 600
    assert large == exact


@pytest.mark.parametrize("num_classes", [1203, 8142])
def test_thousands_of_classes_agree_with_scikit_learn(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    labels = (torch.rand(400, generator=generator) ** 3 * num_classes).long()
    logits = torch.randn(400, num_classes, generator=generator) * 3
    logits[torch.arange(400), labels] += 8
    metric = ClassificationReport(num_classes, torch.arange(num_classes).flip(0))
    for part in torch.arange(400).split(150):
        metric.update(logits[part], labels[part])
    found, truth, guess = metric.compute(), labels.numpy(), logits.argmax(dim=1).numpy()
    present = np.unique(truth)
    scores = logits.double().log_softmax(dim=1).numpy()
    precision = [reference.average_precision_score(truth == c, scores[:, c]) for c in present]
    np.testing.assert_allclose([found["per_class"]["average_precision"][c] for c in present], precision, rtol=1e-12)
    assert found["mean_average_precision"] == pytest.approx(np.mean(precision), rel=1e-12)
    recall = reference.recall_score(truth, guess, labels=present, average=None, zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(recall.mean(), rel=1e-12)
    assert found["worst_class_accuracy"] == recall.min()
    assert found["bias"] == pytest.approx(max(0, recall.max() / (recall.min() + 0.01) - 1), rel=1e-12)
    few = present > num_classes - 21  # classes are named from the largest count to 0
    assert found["few"] == (pytest.approx(recall[few].mean(), rel=1e-12) if few.any() else None)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_part_agrees_with_naive_loops_also_with_ties_and_sure_models(data: st.DataObject) -> None:
    num, classes = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 5))
    scale = data.draw(st.sampled_from([1.0, 0.25, 60.0, 1e4]))
    kind = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    integers = data.draw(st.lists(st.integers(-3, 3), min_size=num * classes, max_size=num * classes))
    logits = (torch.tensor(integers, dtype=torch.float64).view(num, classes) * scale).to(kind)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=num, max_size=num)))
    counts = data.draw(st.lists(st.sampled_from([0, 5, 19, 20, 100, 101]), min_size=classes, max_size=classes))
    metric = ClassificationReport(classes, counts)
    for part in torch.arange(num).split(data.draw(st.integers(1, 25))):
        metric.update(logits[part], labels[part])
    found: dict[str, Any] = metric.compute()  # type: ignore[assignment]
    expected = naive_report(logits.double().numpy(), labels.numpy(), counts)
    for key, value in expected.items():
        value_found = found["per_class"][key] if key in found["per_class"] else found[key]
        # What is undefined is None here and NaN there.
        arrays = (np.array(one, dtype=float) for one in (value_found, value))
        np.testing.assert_allclose(*arrays, rtol=1e-9, atol=1e-12, err_msg=key)


def naive_report(logits: np.ndarray, labels: np.ndarray, counts: list[int]) -> dict[str, Any]:
    """Compute what a report says row by row and class by class."""
    classes, bins = range(logits.shape[1]), np.linspace(0, 1, 16)
    shifted = logits - logits.max(axis=1, keepdims=True)
    scores = torch.tensor(logits).log_softmax(dim=1).numpy()
    guesses = [next(c for c in classes if row[c] == row.max()) for row in logits]
    rows_of = {c: [i for i, label in enumerate(labels) if label == c] for c in classes}
    accuracy = {c: np.mean([guesses[i] == c for i in rows]) for c, rows in rows_of.items() if rows}
    bars = dict.fromkeys(accuracy, 0.0)
    for c in accuracy:
        previous = 0
        for threshold in sorted({scores[i, c] for i in range(len(labels))}, reverse=True):
            taken = [i for i in range(len(labels)) if scores[i, c] >= threshold]
            hits = sum(labels[i] == c for i in taken)
            bars[c] += (hits - previous) / len(rows_of[c]) * hits / len(taken)
            previous = hits
    cells: dict[int, list[tuple[float, bool]]] = {}
    for row, guess, label in zip(shifted, guesses, labels, strict=True):
        confidence = 1 / np.exp(row).sum()
        place = min(max(int(np.searchsorted(bins, confidence, side="right")) - 1, 0), 14)
        cells.setdefault(place, []).append((confidence, guess == label))
    gaps = [abs(sum(value for value, _ in cell) - sum(right for _, right in cell)) for cell in cells.values()]

    def group(members: list[int]) -> float | None:
        known = [accuracy[c] for c in members if c in accuracy]
        return float(np.mean(known)) if known else None

    return {
        "top1": np.mean([guess == label for guess, label in zip(guesses, labels, strict=True)]),
        "balanced_accuracy": np.mean(list(accuracy.values())),
        "worst_class_accuracy": min(accuracy.values()),
        "bias": max(0.0, max(accuracy.values()) / (min(accuracy.values()) + 0.01) - 1),
        "average_precision": [bars.get(c) for c in classes],
        "mean_average_precision": np.mean(list(bars.values())),
        "many": group([c for c in classes if counts[c] > 100]),
        "medium": group([c for c in classes if 20 <= counts[c] <= 100]),
        "few": group([c for c in classes if counts[c] < 20]),
        "confusion_matrix": [[sum(guesses[i] == c for i in rows_of[r]) for c in classes] for r in classes],
        **({} if _on_an_edge(shifted, bins) else {"ece": sum(gaps) / len(labels)}),
    }


def _on_an_edge(shifted: np.ndarray, bins: np.ndarray) -> bool:
    """Tell whether a confidence lies on the edge of two bins, where the last bit decides."""
    confidences = 1 / np.exp(shifted).sum(axis=1)
    return bool((np.abs(confidences[:, None] - bins[1:-1]) < 1e-12).any())


def test_groups_are_means_of_class_accuracies() -> None:
    logits, labels = rows()
    found = results(logits, labels, class_counts=COUNTS)
    recall = reference.recall_score(labels.numpy(), logits.argmax(dim=1).numpy(), average=None)
    assert found["many"] == pytest.approx(recall[:4].mean(), rel=1e-12)
    assert found["medium"] == pytest.approx(recall[4:7].mean(), rel=1e-12)
    assert found["few"] == pytest.approx(recall[7:].mean(), rel=1e-12)
    assert found["head"] == pytest.approx(recall[:4].mean(), rel=1e-12)
    assert found["middle"] == pytest.approx(recall[4:8].mean(), rel=1e-12)
    assert found["tail"] == pytest.approx(recall[8:].mean(), rel=1e-12)


def test_what_is_undefined_is_none_and_json_stays_strict() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    metric = ClassificationReport(3, class_counts=[900, 800, 700], class_names=["a", "b", "c"])
    metric.update(logits, torch.tensor([0, 1, 1]))
    found = json.loads(json.dumps(metric.compute(), allow_nan=False))
    assert found["per_class"]["accuracy"] == [1.0, 0.5, None]
    assert found["per_class"]["precision"] == [0.5, 1.0, None]
    assert found["per_class"]["average_precision"][2] is None
    assert found["balanced_accuracy"] == 0.75
    assert (found["many"], found["medium"], found["few"], found["tail"]) == (0.75, None, None, None)
    assert found["class_names"] == ["a", "b", "c"]


def test_a_class_never_predicted_counts_as_zero_precision() -> None:
    metric = ClassificationReport(2)
    metric.update(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    found = metric.compute()
    assert found["per_class"]["precision"] == [0.5, None]
    assert found["mean_precision"] == 0.25


def test_a_model_that_diverged_is_reported_as_such() -> None:
    metric = ClassificationReport(2)
    metric.update(torch.tensor([[float("nan"), 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    found = json.loads(json.dumps(metric.compute(), allow_nan=False))
    assert found["num_nonfinite"] == 1
    assert found["ece"] is None
    assert found["mean_average_precision"] is None


@pytest.mark.parametrize("limit", [1, 1000])
def test_no_rows_and_no_counts_give_none(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(report, "LARGE", limit)
    metric = ClassificationReport(2)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        found = metric.compute()
    scalars = ("top1", "balanced_accuracy", "worst_class_accuracy", "bias", "ece", "many", "tail", "mean_precision")
    assert found["num_samples"] == 0
    assert [found[key] for key in scalars] == [None] * len(scalars)


def test_starts_anew_after_a_reset() -> None:
    logits, labels = rows()
    metric = ClassificationReport(NUM_CLASSES, COUNTS)
    metric.update(logits, labels)
    metric.compute()
    metric.reset()
    metric.update(logits[:50], labels[:50])
    assert metric.compute() == results(logits[:50], labels[:50], class_counts=COUNTS)


def test_a_batch_value_by_forward_does_not_disturb_the_total() -> None:
    logits, labels = rows()
    metric = ClassificationReport(NUM_CLASSES, COUNTS)
    first = metric(logits[:50], labels[:50])
    metric(logits[50:], labels[50:])
    assert first == results(logits[:50], labels[:50], class_counts=COUNTS)
    total, expected = metric.compute(), results(logits, labels, class_counts=COUNTS)
    # The calibration sums are floating-point numbers added in another order.
    assert total.pop("ece") == pytest.approx(expected.pop("ece"), rel=1e-12)
    assert total == expected


def test_half_precision_and_logits_with_a_graph_are_accepted() -> None:
    logits, labels = rows()
    metric = ClassificationReport(NUM_CLASSES)
    metric.update(logits.bfloat16().requires_grad_(), labels)
    assert metric.compute()["top1"] == pytest.approx(results(logits, labels)["top1"], abs=0.02)
    assert not metric.bins.requires_grad


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"class_counts": [1, 2]}, "`class_counts` to be 11 counts"),
        ({"class_counts": [-1] * 11}, "`class_counts` to be 11 counts"),
        ({"class_names": ["a"]}, "`class_names` to be 11 names"),
    ],
)
def test_bad_arguments_are_refused(kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ClassificationReport(NUM_CLASSES, **kwargs)


def test_logits_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `logits` to be \(B, 11\)"):
        ClassificationReport(NUM_CLASSES).update(torch.zeros(2, 3), torch.tensor([0, 1]))
