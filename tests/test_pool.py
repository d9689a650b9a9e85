from __future__ import annotations

import copy
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semscale_pl.geometry import class_centres, semantic_scales
from semscale_pl.moments import ClassMoments
from semscale_pl.pool import FeaturePool

CAPACITY, DIM, NUM_CLASSES = 12, 3, 4
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MODES = ["indexed", "fifo"]


class NaivePool:
    """Row by row, in plain Python: a dictionary of slots, or a list that forgets its oldest rows."""

    def __init__(self, mode: str) -> None:
        self.mode, self.slots, self.queue = mode, {}, []

    def push(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        for row, label, index in zip(features, labels.tolist(), indices.tolist(), strict=True):
            self.slots[index] = (row, label)
            self.queue = [*self.queue, (row, label)][-CAPACITY:]

    def contents(self) -> tuple[Tensor, Tensor]:
        rows = [self.slots[index] for index in sorted(self.slots)] if self.mode == "indexed" else self.queue
        features = torch.stack([row for row, _ in rows]) if rows else torch.zeros(0, DIM)
        return features, torch.tensor([label for _, label in rows], dtype=torch.int64)


def naive_bits(features: Tensor, labels: Tensor, num_classes: int = NUM_CLASSES) -> Tensor:
    """slogdet class by class in numpy float64."""
    rows, bits = features.double().numpy(), []
    for label in range(num_classes):
        part = rows[labels.numpy() == label]
        if len(part) == 0:
            bits.append(np.nan)
            continue
        centred = part - part.mean(0)
        dim = rows.shape[1]
        bits.append(0.5 * np.linalg.slogdet(np.eye(dim) + dim / len(part) * centred.T @ centred)[1] / np.log(2.0))
    return torch.tensor(bits, dtype=torch.float64)


def batch(
    generator: torch.Generator, rows: int, capacity: int = CAPACITY, dim: int = DIM
) -> tuple[Tensor, Tensor, Tensor]:
    features = 3.0 * torch.randn(rows, dim, generator=generator) + 10.0
    labels = torch.randint(NUM_CLASSES, (rows,), generator=generator)
    return features, labels, torch.randint(capacity, (rows,), generator=generator)


def make_pool(mode: str = "indexed", **options: object) -> FeaturePool:
    return FeaturePool(CAPACITY, DIM, NUM_CLASSES, mode=mode, **options)


@given(
    mode=st.sampled_from(MODES),
    dtype=st.sampled_from(DTYPES),
    sizes=st.lists(st.integers(0, CAPACITY + 8), max_size=10),
    seed=st.integers(0, 99),
    rebuild_every=st.integers(0, 2),
)
@settings(max_examples=50, deadline=None)
def test_any_sequence_of_batches_equals_the_naive_pool(
    mode: str, dtype: torch.dtype, sizes: list[int], seed: int, rebuild_every: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pool, naive = make_pool(mode, storage_dtype=dtype, rebuild_every=rebuild_every), NaivePool(mode)
    for size in sizes:
        features, labels, indices = batch(generator, size)
        pool.push(features, labels, indices if mode == "indexed" else None)
        naive.push(features.to(dtype), labels, indices)
        features, labels = naive.contents()
        stored = pool.contents()
        assert torch.equal(stored[0], features.to(dtype))
        assert torch.equal(stored[1], labels)
        torch.testing.assert_close(pool.scales(), naive_bits(features, labels), atol=1e-8, rtol=0, equal_nan=True)
        torch.testing.assert_close(
            pool.centres(), class_centres(features.double(), labels, NUM_CLASSES), atol=1e-9, rtol=0, equal_nan=True
        )
        assert torch.equal(pool.class_counts(), labels.bincount(minlength=NUM_CLASSES))
        assert pool.is_full == (len(labels) == CAPACITY)
        assert pool.check() < 1e-9
        deviations = (features.double() - features.double().mean(0)).square().mean().sqrt().nan_to_num(0.0)
        torch.testing.assert_close(pool.rms_deviation(), deviations, atol=1e-9, rtol=0)
    assert int(pool.num_pushed) == sum(sizes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ten_thousand_steps_equal_a_recomputation(mode: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = FeaturePool(200, 4, NUM_CLASSES, mode=mode, storage_dtype=dtype, validate_args=False, rebuild_every=0)
    for _ in range(10_000 if dtype == torch.float32 else 1_000):
        pool.push(*batch(generator, 8, capacity=200, dim=4))
    torch.testing.assert_close(pool.scales(), naive_bits(*pool.contents()), atol=1e-8, rtol=0)
    assert pool.check() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_steps_equal_a_recomputation_with_64_features(mode: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = FeaturePool(2_000, 64, NUM_CLASSES, mode=mode, rebuild_every=0)
    for _ in range(10_000):
        pool.push(*batch(generator, 32, capacity=2_000, dim=64))
        pool.scales()
    torch.testing.assert_close(pool.scales(), naive_bits(*pool.contents()), atol=1e-8, rtol=0)


def test_the_last_of_several_rows_with_one_index_wins() -> None:
    pool = make_pool()
    features = torch.arange(12.0).reshape(4, 3)
    pool.push(features, torch.tensor([0, 1, 2, 3]), torch.tensor([5, 2, 5, 5]))
    assert torch.equal(pool.contents()[0], features[[1, 3]])
    assert pool.class_counts().tolist() == [0, 1, 0, 1]


def test_a_new_label_moves_the_row_to_its_class() -> None:
    pool = make_pool()
    features = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0))
    pool.push(features, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    pool.push(features[:2], torch.tensor([1, 1]), torch.arange(2))
    assert pool.class_counts().tolist() == [2, 2, 0, 0]
    expected = semantic_scales(features, torch.tensor([1, 1, 0, 0]), NUM_CLASSES)
    torch.testing.assert_close(pool.scales(), expected, atol=1e-12, rtol=0, equal_nan=True)


def test_an_oversized_batch_keeps_its_newest_rows() -> None:
    pool = make_pool("fifo")
    features = torch.arange(60.0).reshape(20, 3)
    pool.push(features[:5], torch.zeros(5, dtype=torch.int64))
    pool.push(features, torch.ones(20, dtype=torch.int64))
    assert torch.equal(pool.contents()[0], features[-CAPACITY:])
    pool.push(features[:1], torch.tensor([2]))
    assert torch.equal(pool.contents()[0], torch.cat([features[-CAPACITY + 1 :], features[:1]]))


def test_a_queue_can_lose_a_class_where_slots_cannot() -> None:
    queue, slots = make_pool("fifo"), make_pool("indexed")
    for step in range(4):
        features = torch.randn(6, DIM, generator=torch.Generator().manual_seed(step))
        labels = torch.full((6,), min(step, 1))
        for pool in (queue, slots):
            pool.push(features, labels, torch.arange(6) + 6 * min(step, 1))
    assert queue.scales()[0].isnan()
    assert queue.centres()[0].isnan().all()
    assert float(queue.moments.second[0].abs().max()) == 0.0
    assert slots.class_counts().tolist() == [6, 6, 0, 0]
    assert float(slots.scales()[0]) > 0.0


@pytest.mark.parametrize("mode", MODES)
def test_a_class_of_one_row_has_zero_bits_and_an_empty_pool_none(mode: str) -> None:
    pool = make_pool(mode)
    assert pool.scales().isnan().all()
    assert pool.labels.eq(-1).all()
    assert float(pool.rms_deviation()) == 0.0
    assert pool.check() == 0.0
    pool.push(torch.ones(1, DIM), torch.tensor([2]), torch.tensor([7]))
    assert pool.scales()[2] == 0.0
    assert pool.scales().isnan().sum() == 3
    pool.push(torch.ones(0, DIM), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert len(pool.contents()[1]) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rebuild_every", [0, 1])
def test_a_resumed_pool_goes_on_bitwise(mode: str, rebuild_every: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [batch(generator, 5) for _ in range(30)]
    straight, before = make_pool(mode, rebuild_every=rebuild_every), make_pool(mode, rebuild_every=rebuild_every)
    for rows in batches[:17]:
        straight.push(*rows)
        straight.scales()
        before.push(*rows)
    torch.save(dict(before.state_dict()), tmp_path / "pool.pt")
    resumed = make_pool(mode, rebuild_every=rebuild_every)
    resumed.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True), strict=True)
    for rows in batches[17:]:
        straight.push(*rows)
        resumed.push(*rows)
        assert torch.equal(straight.scales().nan_to_num(-1.0), resumed.scales().nan_to_num(-1.0))
    assert all(torch.equal(a, b) for a, b in _tensors(straight.state_dict(), resumed.state_dict()))


def test_a_state_of_another_mode_or_dtype_is_refused() -> None:
    for options in ({"mode": "fifo"}, {"storage_dtype": "float16"}):
        with pytest.raises(ValueError, match="Resume with the settings of the first run"):
            make_pool().load_state_dict(make_pool(**options).state_dict())


def test_all_state_survives_pickling_and_copying() -> None:
    pool = make_pool()
    pool.push(*batch(torch.Generator().manual_seed(0), 9))
    stream = io.BytesIO()
    torch.save(pool, stream)
    stream.seek(0)
    for copied in (copy.deepcopy(pool), torch.load(stream, weights_only=False)):
        copied.push(*batch(torch.Generator().manual_seed(1), 9))
        assert copied.check() < 1e-12
    assert int(pool.num_pushed) == 9


@pytest.mark.parametrize("mode", MODES)
def test_the_work_of_a_step_does_not_depend_on_the_capacity(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_seen: list[int] = []
    update, classes_seen, scatter = ClassMoments._update, [], ClassMoments.scatter

    def counted_update(self: ClassMoments, features: Tensor, labels: Tensor, signs: Tensor) -> None:
        rows_seen.append(len(labels))
        update(self, features, labels, signs)

    def counted_scatter(self: ClassMoments, classes: Tensor) -> Tensor:
        classes_seen.append(len(classes))
        return scatter(self, classes)

    monkeypatch.setattr(ClassMoments, "_update", counted_update)
    monkeypatch.setattr(ClassMoments, "scatter", counted_scatter)
    work = []
    for capacity in (100, 10_000):
        pool = FeaturePool(capacity, 2, 50, mode=mode)
        pool.push(torch.randn(capacity, 2), torch.arange(capacity) % 50, torch.arange(capacity))
        pool.scales()
        rows_seen.clear(), classes_seen.clear()
        pool.push(torch.randn(8, 2), torch.arange(8), torch.arange(8))
        pool.scales()
        work.append((list(rows_seen), list(classes_seen)))
    assert work[0] == work[1] == ([16], [8])


def test_a_rebuild_clears_what_an_extreme_feature_left_behind() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = make_pool(rebuild_every=2)
    features, labels, _ = batch(generator, CAPACITY)
    pool.push(features * 1e12, labels, torch.arange(CAPACITY))
    pool.push(features[:-1], labels[:-1], torch.arange(CAPACITY - 1))
    assert pool.check() > 1e-3
    pool.push(features[-1:], labels[-1:], torch.tensor([CAPACITY - 1]))
    assert pool.check() == 0.0
    torch.testing.assert_close(pool.scales(), naive_bits(features, labels), atol=1e-8, rtol=0)


def test_check_sees_moments_that_do_not_fit_the_contents() -> None:
    pool = make_pool()
    pool.push(*batch(torch.Generator().manual_seed(0), 9))
    pool.moments.second[int(pool.contents()[1][0])] += 0.5
    assert pool.check() > 1e-3
    pool.rebuild()
    assert pool.check() == 0.0
    pool.moments.counts[0] += 1
    assert pool.check() >= 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_batches_under_autocast_are_taken_in_full_precision(dtype: torch.dtype) -> None:
    features, labels, _ = batch(torch.Generator().manual_seed(0), CAPACITY)
    pool = make_pool(storage_dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pool.push(features.bfloat16().requires_grad_(), labels.int(), torch.arange(CAPACITY, dtype=torch.int32))
        scales, centres = pool.scales(), pool.centres()
    stored = features.bfloat16().to(dtype)
    assert scales.dtype == centres.dtype == torch.float64
    torch.testing.assert_close(scales, naive_bits(stored, labels), atol=1e-9, rtol=0, equal_nan=True)
    assert not scales.requires_grad


def test_storage_dtype_may_be_a_name() -> None:
    assert make_pool(storage_dtype="bfloat16").features.dtype == torch.bfloat16
    assert make_pool(storage_dtype="float64").features.dtype == torch.float64


def test_memory_is_the_sum_of_the_buffers_and_a_huge_pool_warns() -> None:
    pool = FeaturePool(100, 8, 5, storage_dtype="float16")
    moments = 5 * (8 + 8 * 8 + 8 * 8 + 8 * 64) + 5 * (8 + 1)  # counts, shift, sums, second; cached bits and marks
    assert pool.memory_bytes == 100 * (8 * 2 + 8) + 8 + moments
    with torch.device("meta"), pytest.warns(UserWarning, match=r"takes 7\.\d GiB"):
        FeaturePool(1_000_000, 2048 - 64, 1)


ONES, ZEROS = torch.ones(2, DIM), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "Expected `features` to be of shape (B, 3), but got (2, 4)", (torch.ones(2, 4), ZEROS, ZEROS)),
        (ValueError, "Expected `features` to be of shape (B, 3), but got (3,)", (torch.ones(3), ZEROS, ZEROS)),
        (TypeError, "Expected `features` to be floating point, but got torch.int64", (ONES.long(), ZEROS, ZEROS)),
        (ValueError, "Expected `labels` to be of shape (2,), but got (3,)", (ONES, torch.zeros(3).long(), ZEROS)),
        (ValueError, "Expected `indices` to be of shape (2,), but got (1,)", (ONES, ZEROS, ZEROS[:1])),
        (ValueError, "Expected `indices` in an indexed pool, but got None", (ONES, ZEROS)),
        (TypeError, "Expected `labels` to be integers, but got torch.float32", (ONES, ZEROS.float(), ZEROS)),
        (TypeError, "Expected `indices` to be integers, but got torch.bool", (ONES, ZEROS, ZEROS.bool())),
        (
            ValueError,
            "Expected `labels` to be in [0, 4), but got values from -1 to 0",
            (ONES, torch.tensor([-1, 0]), ZEROS),
        ),
        (
            ValueError,
            "Expected `labels` to be in [0, 4), but got values from 0 to 4",
            (ONES, torch.tensor([0, 4]), ZEROS),
        ),
        (
            ValueError,
            "Expected `indices` to be in [0, 12), but got values from 3 to 12",
            (ONES, ZEROS, torch.tensor([12, 3])),
        ),
        (
            ValueError,
            "Expected `features` to be finite in torch.float32, but got NaN",
            (ONES * torch.nan, ZEROS, ZEROS),
        ),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(
    error: type[Exception], message: str, arguments: tuple[Tensor, ...]
) -> None:
    pool = make_pool()
    before = copy.deepcopy(pool.state_dict())
    with pytest.raises(error, match=re.escape(message)):
        pool.push(*arguments)
    assert all(torch.equal(value, kept) for value, kept in _tensors(before, pool.state_dict()))


def _tensors(first: dict[str, object], second: dict[str, object]) -> list[tuple[Tensor, Tensor]]:
    return [(first[name], second[name]) for name in first if isinstance(first[name], Tensor)]


def test_features_too_large_for_the_storage_dtype_are_refused() -> None:
    with pytest.raises(ValueError, match=r"finite in torch.float16.*wider `storage_dtype`"):
        make_pool(storage_dtype="float16").push(ONES * 1e6, ZEROS, ZEROS)


def test_checks_of_values_can_be_skipped() -> None:
    pool = make_pool(validate_args=False)
    pool.push(ONES * torch.nan, ZEROS, torch.tensor([0, 1]))
    assert len(pool.contents()[0]) == 2
    with pytest.raises(ValueError, match="of shape"):
        pool.push(torch.ones(2, 4), ZEROS, ZEROS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "Expected `capacity` to be at least 1, but got 0"),
        ({"num_features": 0}, "Expected `num_features` to be at least 1, but got 0"),
        ({"num_classes": -1}, "Expected `num_classes` to be at least 1, but got -1"),
        ({"mode": "ring"}, "Expected `mode` to be one of ('indexed', 'fifo'), but got 'ring'"),
        ({"storage_dtype": "int8"}, "Expected `storage_dtype` to be one of"),
        ({"storage_dtype": torch.int64}, "Expected `storage_dtype` to be one of"),
        ({"rebuild_every": -1}, "Expected `rebuild_every` to be at least 0, but got -1"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FeaturePool(**{"capacity": 3, "num_features": 2, "num_classes": 2, **options})
