"""Moments while rows come and go, and merged sets, against a computation from the rows themselves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from waiting import on_device

from semscale_pl.geometry import semantic_scale
from semscale_pl.geometry.moments import ClassMoments, Moments

NUM_CLASSES, DIM = 4, 3


def reference_bits(rows: np.ndarray, ratio: float | str = "dim", unit: float = 1.0) -> float:
    """1/2 log2 det(I + r/(m unit^2) Z Z^T) of one class, from its rows, by singular values."""
    if len(rows) == 0:
        return float("nan")
    factor = (rows.shape[1] if ratio == "dim" else float(ratio)) / (len(rows) * unit**2)
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    return float(0.5 * np.log2(1.0 + factor * singular**2).sum())


def reference_scales(features: Tensor, labels: Tensor, num_classes: int, **options: float | str) -> Tensor:
    rows = features.double().numpy()
    bits = [reference_bits(rows[labels.numpy() == label], **options) for label in range(num_classes)]
    return torch.tensor(bits, dtype=torch.float64)


def batch(generator: torch.Generator, rows: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    features = torch.randn(rows, DIM, generator=generator) + offset
    return features, torch.randint(NUM_CLASSES, (rows,), generator=generator)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "replace"]), st.integers(0, 9)), max_size=12),
    st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_any_order_of_operations_equals_a_computation_from_the_rows(
    operations: list[tuple[str, int]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    moments = ClassMoments(NUM_CLASSES, DIM)
    features, labels = torch.zeros(0, DIM), torch.zeros(0, dtype=torch.int64)
    for operation, size in operations:
        new_features, new_labels = batch(generator, size)
        leaving = torch.randperm(len(labels), generator=generator)[:size]
        staying = torch.ones(len(labels), dtype=torch.bool)
        staying[leaving] = False
        if operation == "add":
            moments.add(new_features, new_labels)
            staying[:] = True
        elif operation == "remove":
            moments.remove(features[leaving], labels[leaving])
            new_features, new_labels = new_features[:0], new_labels[:0]
        else:
            moments.replace(features[leaving], labels[leaving], new_features, new_labels)
        features, labels = torch.cat([features[staying], new_features]), torch.cat([labels[staying], new_labels])
        if size % 2:  # so that some answers come from the cache of an earlier one
            moments.scales()
    torch.testing.assert_close(
        moments.scales(), reference_scales(features, labels, NUM_CLASSES), atol=1e-9, rtol=0, equal_nan=True
    )
    assert moments.counts.tolist() == labels.bincount(minlength=NUM_CLASSES).tolist()
    for label in range(NUM_CLASSES):
        rows = features[labels == label].double()
        centre = rows.mean(0) if len(rows) else torch.full((DIM,), torch.nan, dtype=torch.float64)
        torch.testing.assert_close(moments.centres()[label], centre, equal_nan=True)
        expected = (rows - centre).T @ (rows - centre) if len(rows) else torch.zeros(DIM, DIM, dtype=torch.float64)
        torch.testing.assert_close(moments.scatter()[label], expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(moments.variances()[label], expected.diagonal(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [200, 1, 3, 17], [0, 64, 65, 0], [4, 5, 16, 17]])
def test_classes_of_unlike_size_in_one_batch(sizes: list[int]) -> None:
    labels = torch.repeat_interleave(torch.arange(NUM_CLASSES), torch.tensor(sizes))
    features = torch.randn(len(labels), DIM, generator=torch.Generator().manual_seed(0))
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(features[shuffled], labels[shuffled])
    expected = reference_scales(features, labels, NUM_CLASSES)
    torch.testing.assert_close(moments.scales(), expected, atol=1e-10, rtol=0, equal_nan=True)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_a_large_offset_does_not_cancel_the_spread(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = batch(generator, 60)
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(features.double() + offset, labels)
    torch.testing.assert_close(moments.scales(), reference_scales(features, labels, NUM_CLASSES), atol=1e-8, rtol=0)


def test_an_emptied_class_leaves_no_residue_and_starts_afresh() -> None:
    moments = ClassMoments(2, DIM)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(7, DIM, generator=generator, dtype=torch.float64)  # of full precision, so that sums round
    labels = torch.zeros(7, dtype=torch.int64)
    moments.add(features, labels)
    for row in (3, 0, 6, 2, 5, 1, 4):
        moments.remove(features[[row]], labels[[row]])
    assert float(moments.second.abs().max()) == 0.0
    assert float(moments.sums.abs().max()) == 0.0
    assert moments.scales().isnan().all()
    assert moments.centres().isnan().all()
    small = torch.randn(5, DIM, generator=torch.Generator().manual_seed(1)) * 1e-3
    moments.add(small, labels[:5])
    fresh = ClassMoments(2, DIM)
    fresh.add(small, labels[:5])
    assert torch.equal(moments.scales()[0], fresh.scales()[0])


def test_a_class_of_one_row_has_exactly_zero_bits() -> None:
    moments = ClassMoments(2, DIM)
    features = torch.randn(9, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e4
    moments.add(features, torch.zeros(9, dtype=torch.int64))
    moments.remove(features[:8], torch.zeros(8, dtype=torch.int64))
    assert moments.scales()[0] == 0.0
    assert float(moments.scatter().abs().max()) == 0.0
    torch.testing.assert_close(moments.centres()[0], features[8], rtol=1e-12, atol=0)


def test_only_touched_classes_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(*batch(torch.Generator().manual_seed(0), 40))
    moments.scales()
    computed: list[int] = []
    scatter = ClassMoments._scatter

    def counted(self: ClassMoments, classes: Tensor) -> tuple[Tensor, Tensor]:
        computed.extend(classes.tolist())
        return scatter(self, classes)

    monkeypatch.setattr(ClassMoments, "_scatter", counted)
    moments.scales()
    assert computed == []
    moments.add(torch.randn(2, DIM), torch.tensor([3, 1]))
    moments.scales()
    assert computed == [1, 3]


def test_other_options_are_not_answered_from_the_cache() -> None:
    features, labels = batch(torch.Generator().manual_seed(0), 40)
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(features, labels)
    plain = moments.scales()
    for options in ({"ratio": 1.0}, {"unit": 0.3}, {"ratio": 2.0, "unit": 5.0}):
        expected = reference_scales(features, labels, NUM_CLASSES, **options)
        torch.testing.assert_close(moments.scales(**options), expected, atol=1e-10, rtol=0)
    assert not torch.equal(moments.scales(estimator="shrunk"), plain)
    assert torch.equal(moments.scales(), plain)


def test_a_larger_unit_measures_fewer_bits() -> None:
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(*batch(torch.Generator().manual_seed(0), 40))
    measured = [moments.scales(unit=unit).sum() for unit in (0.1, 1.0, 10.0)]
    assert all(bool(small > large) for small, large in pairwise(measured))


def test_the_answer_is_not_the_cache_itself() -> None:
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(*batch(torch.Generator().manual_seed(0), 40))
    moments.scales().fill_(-1.0)
    assert float(moments.scales().min()) > 0.0


def test_equal_inputs_give_equal_bits() -> None:
    first, second = ClassMoments(NUM_CLASSES, DIM), ClassMoments(NUM_CLASSES, DIM)
    for moments in (first, second):
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            moments.add(*batch(generator, 11))
            if moments is first:
                moments.scales()  # asking does not change what comes later
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert torch.equal(first.scales(), second.scales())


def test_loading_a_state_drops_the_cache() -> None:
    moments, other = ClassMoments(NUM_CLASSES, DIM), ClassMoments(NUM_CLASSES, DIM)
    generator = torch.Generator().manual_seed(0)
    moments.add(*batch(generator, 30))
    other.add(*batch(generator, 30))
    other.scales()
    other.load_state_dict(moments.state_dict(), strict=True)
    assert torch.equal(other.scales(), moments.scales())


def test_refill_equals_adding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semscale_pl.geometry.moments._ROWS_AT_ONCE", 7)
    features, labels = batch(torch.Generator().manual_seed(0), 50)
    moments = ClassMoments(NUM_CLASSES, DIM)
    moments.add(*batch(torch.Generator().manual_seed(1), 20))
    moments.refill(features, labels)
    expected = reference_scales(features, labels, NUM_CLASSES)
    torch.testing.assert_close(moments.scales(), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("num_classes", "num_features", "name"), [(0, 3, "num_classes"), (3, 0, "num_features")])
def test_sizes_below_one_are_refused(num_classes: int, num_features: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{name}` to be an integer of at least 1, but got 0"):
        ClassMoments(num_classes, num_features)


LABELS = torch.tensor([0] * 7 + [1] * 12 + [2] * 3)
FEATURES = torch.randn(22, 5, generator=torch.Generator().manual_seed(0)) + 3.0 * LABELS[:, None]


def test_scales_of_classes_groups_and_joined_sets() -> None:
    moments = Moments.of(FEATURES, LABELS, 3)
    expected = [float(semantic_scale(FEATURES[label == LABELS])) for label in range(3)]
    assert moments.scales().tolist() == pytest.approx(expected)
    groups = moments.grouped(torch.tensor([[True, False, True], [True, True, True]]))
    assert groups.counts.tolist() == [10, 22]
    both = [FEATURES[LABELS != 1], FEATURES]
    assert groups.scales().tolist() == pytest.approx([float(semantic_scale(part)) for part in both])
    torch.testing.assert_close(groups.means, torch.stack([part.double().mean(0) for part in both]))
    joined = moments.take([0, 1]).joined(moments.take([2]))
    pairs = [FEATURES[(label == LABELS) | (LABELS == 2)] for label in (0, 1)]
    assert joined.scales().tolist() == pytest.approx([float(semantic_scale(part)) for part in pairs])
    torch.testing.assert_close(joined.means, torch.stack([part.double().mean(0) for part in pairs]))


def test_an_absent_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3"):
        Moments.of(FEATURES, LABELS, 4)


@given(st.integers(0, 999), st.sampled_from([(1, 1), (4, 3), (3, 40)]))
@settings(max_examples=40, deadline=None)
def test_fixed_shapes_give_the_same_moments_and_wait_for_nothing(seed: int, sizes: tuple[int, int]) -> None:
    num_classes, num_rows = sizes
    generator = torch.Generator().manual_seed(seed)
    ours, expected = ClassMoments(num_classes, DIM, fixed_shapes=True), ClassMoments(num_classes, DIM)
    known: list[tuple[Tensor, Tensor]] = []
    for _ in range(6):
        rows = 5.0 + torch.randn(num_rows, DIM, generator=generator), torch.randint(num_classes, (num_rows,))
        leaving = known.pop(0) if len(known) > 1 else None
        known.append(rows)
        with on_device(*ours.buffers(), *rows, *(leaving or ())):
            ours.add(*rows) if leaving is None else ours.replace(*leaving, *rows)
            found = ours.scales(), ours.scales("shrunk", 1.0, torch.tensor(2.0)), ours.centres(), ours.variances()
        expected.add(*rows) if leaving is None else expected.replace(*leaving, *rows)
        references = expected.scales(), expected.scales("shrunk", 1.0, 2.0), expected.centres(), expected.variances()
        torch.testing.assert_close(found, references, atol=1e-11, rtol=1e-11, equal_nan=True)
        assert torch.equal(ours.counts, expected.counts)


def test_rounding_beyond_repair_is_met_without_a_look_at_the_values() -> None:
    features = torch.randn(40, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features[:, 1:] = features[:, :1] * torch.tensor([1.0, 1.0])  # one direction: the others are rounding alone
    features, labels = 1e12 * features, torch.zeros(40, dtype=torch.int64)
    ours, expected = ClassMoments(1, DIM, fixed_shapes=True), ClassMoments(1, DIM)
    ours.add(features, labels)
    expected.add(features, labels)
    assert bool(ours.scales().isfinite().all())
    assert abs(float(ours.scales() - expected.scales())) < 0.5 * float(expected.scales())
