"""The metrics that also stand alone, against the report, torchmetrics and hand calculations."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from semscale_pl.files import CannotWriteError
from semscale_pl.metrics import AveragePrecision, CalibrationError, ClassificationReport, GroupAccuracy, ModelBias
from semscale_pl.metrics import scores as scores_module
from semscale_pl.metrics.accuracy import model_bias, rank_groups, shot_groups
from semscale_pl.metrics.average_precision import average_precision
from semscale_pl.metrics.calibration import calibration_bins, expected_calibration_error


def rows(num: int = 200, num_classes: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(num, num_classes, generator=generator) * 2
    labels = torch.randint(num_classes, (num,), generator=generator)
    logits[torch.arange(num), labels] += 2
    return logits, labels


def test_each_alone_equals_its_part_of_the_report() -> None:
    logits, labels = rows()
    counts = list(range(150, 30, -10))
    report = ClassificationReport(12, counts)
    report.update(logits, labels)
    whole = report.compute()
    groups, bias, ece, ap = GroupAccuracy(12, counts), ModelBias(12), CalibrationError(12), AveragePrecision(12)
    for metric in (groups, bias, ece, ap):
        metric.update(logits[:70], labels[:70])
        metric.update(logits[70:], labels[70:])
    assert groups.compute() == {key: whole[key] for key in ("many", "medium", "few", "head", "middle", "tail")}
    assert bias.compute() == whole["bias"]
    assert ece.compute() == pytest.approx(whole["ece"], rel=1e-12)
    assert ap.compute() == whole["per_class"]["average_precision"]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_agrees_with_torchmetrics(bins: int) -> None:
    logits, labels = rows()
    metric = CalibrationError(12, num_bins=bins)
    metric.update(logits, labels)
    expected = multiclass_calibration_error(logits.softmax(dim=1), labels, 12, n_bins=bins, norm="l1")
    assert metric.compute() == pytest.approx(expected.item(), rel=1e-5)


def test_a_confidence_on_the_edge_of_two_bins_falls_where_torchmetrics_puts_it() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.45, 0.3, 0.25], [0.55, 0.25, 0.2]])
    labels = torch.tensor([0, 1, 1])
    # Logits 0 and -log 2 give 1/2, 1/4, 1/4 exactly.
    logits = probabilities.double().log()
    bins = calibration_bins(logits, labels, num_bins=10)
    assert bins[0].tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 0]
    expected = multiclass_calibration_error(probabilities, labels, 3, n_bins=10, norm="l1")
    assert expected_calibration_error(bins) == pytest.approx(expected.item(), rel=1e-5)


def test_calibration_error_by_hand() -> None:
    # Confidence 1 in four rows of which three are right: the error is 1/4.
    metric = CalibrationError(2)
    metric.update(torch.tensor([[200.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
    assert metric.compute() == 0.25


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.5, 0.5], 0.0),  # 0.5 / 0.51 - 1 is negative
        ([1.0, 0.0], 99.0),
        ([0.9, float("nan"), 0.29], 2.0),
    ],
)
def test_model_bias_by_hand(accuracies: list[float], expected: float) -> None:
    assert model_bias(torch.tensor(accuracies, dtype=torch.float64)) == pytest.approx(expected, rel=1e-12)


def test_model_bias_without_classes_is_none() -> None:
    assert model_bias(torch.tensor([float("nan")])) is None


def test_the_limits_of_the_shot_groups() -> None:
    assert shot_groups([101, 100, 20, 19, 0]) == {"many": [0], "medium": [1, 2], "few": [3, 4]}


@pytest.mark.parametrize(
    ("classes", "sizes"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (10, (4, 3, 3)), (1000, (334, 333, 333))]
)
def test_sizes_of_the_thirds(classes: int, sizes: tuple[int, int, int]) -> None:
    groups = rank_groups([7] * classes)
    assert tuple(map(len, groups.values())) == sizes
    assert [label for group in groups.values() for label in group] == list(range(classes))


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_the_groups_part_the_classes_and_fall_in_count(counts: list[int]) -> None:
    for groups in (shot_groups(counts), rank_groups(counts)):
        parts = list(groups.values())
        labels = [label for part in parts for label in part]
        assert sorted(labels) == list(range(len(counts)))
        limits = [max((counts[c] for c in part), default=-1) for part in parts if part]
        assert limits == sorted(limits, reverse=True)
        if groups.keys() == {"head", "middle", "tail"}:
            assert [counts[label] for label in labels] == sorted(counts, reverse=True)


@settings(max_examples=50, deadline=None)
@given(data=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_average_precision_agrees_with_scikit_learn(data: list[tuple[int, bool]]) -> None:
    scores = torch.tensor([float(score) for score, _ in data])
    positive = torch.tensor([flag for _, flag in data])
    found = average_precision(scores, positive)
    if positive.any():
        assert found.item() == pytest.approx(average_precision_score(positive.numpy(), scores.numpy()), rel=1e-12)
    else:
        assert found.isnan()


def test_a_sure_model_is_ranked_by_what_float32_probabilities_cannot_tell_apart() -> None:
    # All three are 1 in float32: as ties they would have an average precision of 2/3.
    logits = torch.tensor([[20.0, 0.0], [30.0, 0.0], [25.0, 0.0]])
    labels = torch.tensor([1, 0, 0])
    assert logits.softmax(dim=1)[:, 0].tolist() == [1, 1, 1]
    metric = AveragePrecision(2)
    metric.update(logits, labels)
    assert metric.compute() == [1.0, 1.0]


def test_scores_in_files_give_the_same_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = rows(900)
    whole = AveragePrecision(12)
    whole.update(logits, labels)
    monkeypatch.setattr(scores_module, "IN_MEMORY", 4000)
    metric = AveragePrecision(12)
    for part in torch.arange(900).split(100):
        # Precisions may change on the way; all are exact.
        kind = torch.float64 if part[0] == 300 else torch.float32
        metric.update(logits[part].to(kind), labels[part])
        assert metric.scores._buffer is None or metric.scores._buffer.nbytes <= 4000
    assert len(metric.scores._files) > 8
    blocks = [column for _, column in metric.scores.by_class()]
    assert len(blocks) == 12
    assert max(column.untyped_storage().nbytes() for column in blocks) <= max(4000, 8 * 900)
    assert metric.compute() == whole.compute()
    metric.reset()
    metric.update(logits[:50], labels[:50])
    assert metric.compute() == AveragePrecision(12)(logits[:50], labels[:50])


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scores_module, "IN_MEMORY", 100)
    monkeypatch.setattr(scores_module.tempfile, "TemporaryFile", full)
    with pytest.raises(CannotWriteError, match=r"No space left on device\. Free some, or set TMPDIR"):
        AveragePrecision(12).update(*rows(10))


def test_a_metric_with_rows_can_be_copied_and_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = rows(60)
    monkeypatch.setattr(scores_module, "IN_MEMORY", 1000)
    metric = AveragePrecision(12)
    metric.update(logits[:40], labels[:40])
    copies = [copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))]
    for one in (metric, *copies):
        one.update(logits[40:], labels[40:])
    assert copies[0].compute() == copies[1].compute() == metric.compute()


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_bins` to be at least 1"):
        CalibrationError(2, num_bins=0)
