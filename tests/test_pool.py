from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pools import CAPACITY, DIM, DTYPES, MODES, NUM_CLASSES, NaivePool, batch, make_pool, naive_bits, tensors_of
from torch import Tensor
from waiting import on_device

from semscale_pl.geometry import class_centres, class_geometry, semantic_scales
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.pool import FeaturePool, NonFiniteFeaturesError


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
    assert all(torch.equal(a, b) for a, b in tensors_of(straight.state_dict(), resumed.state_dict()))


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
    update, classes_seen, scatter = ClassMoments._update, [], ClassMoments._scatter

    def counted_update(self: ClassMoments, features: Tensor, labels: Tensor, signs: Tensor) -> None:
        rows_seen.append(len(labels))
        update(self, features, labels, signs)

    def counted_scatter(self: ClassMoments, classes: Tensor) -> tuple[Tensor, Tensor]:
        classes_seen.append(len(classes))
        return scatter(self, classes)

    monkeypatch.setattr(ClassMoments, "_update", counted_update)
    monkeypatch.setattr(ClassMoments, "_scatter", counted_scatter)
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
    moments = 5 * (8 + 8 * 8 + 8 * 8 + 8 * 64) + 5 * 8  # counts, shift, sums, second; cached bits
    assert pool.memory_bytes == 100 * (8 * 2 + 8) + 8 + moments
    with torch.device("meta"), pytest.warns(UserWarning, match=r"takes 7\.\d GiB"):
        FeaturePool(1_000_000, 2048 - 64, 1)


@pytest.mark.parametrize("alpha", [1.0, 2.0, None])
def test_the_geometry_of_a_pool_is_that_of_its_contents(alpha: float | None) -> None:
    pool = make_pool()
    pool.push(*batch(torch.Generator().manual_seed(0), CAPACITY))
    found, expected = pool.geometry(alpha), class_geometry(*pool.contents(), NUM_CLASSES, alpha=alpha)
    for name in vars(found):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-9, rtol=0, equal_nan=True)


@pytest.mark.parametrize("mode", MODES)
def test_a_pool_of_fixed_shapes_holds_the_same_and_waits_for_nothing(mode: str) -> None:
    generator = torch.Generator().manual_seed(5)
    ours, expected = make_pool(mode, fixed_shapes=True, rebuild_every=0), make_pool(mode, rebuild_every=0)
    ours.push(*(first := batch(generator, 5)))  # the first push is looked at
    expected.push(*first)
    for _ in range(20):
        rows = batch(generator, 7)
        with on_device(*rows, *ours.buffers()):
            ours.push(*rows)
            ours.geometry()
        expected.push(*rows)
        assert torch.equal(ours.features, expected.features)
        assert torch.equal(ours.labels, expected.labels)
        torch.testing.assert_close(ours.scales(), expected.scales(), atol=1e-10, rtol=0, equal_nan=True)
        torch.testing.assert_close(ours.centres(), expected.centres(), atol=1e-10, rtol=0, equal_nan=True)
    assert ours.check() < 1e-9
    ours.verify()


def test_values_that_were_not_looked_at_are_refused_by_the_next_verification() -> None:
    pool = make_pool(fixed_shapes=True)
    features, labels, indices = batch(torch.Generator().manual_seed(0), 5)
    pool.push(features, labels, indices)
    pool.push(features / 0.0, labels, indices)
    pool.push(features, labels, indices)
    with pytest.raises(NonFiniteFeaturesError, match=f"class {int(labels[0])} and index {int(indices[0])}"):
        pool.verify()
    pool.verify()


def test_a_large_push_of_fixed_shapes_is_taken_in_pieces_to_the_same_contents() -> None:
    generator = torch.Generator().manual_seed(1)
    ours, expected = make_pool(fixed_shapes=True), make_pool()
    rows = batch(generator, 2500)  # every index many times: the last one wins
    ours.push(*rows)
    expected.push(*rows)
    assert torch.equal(ours.features, expected.features)
    assert torch.equal(ours.labels, expected.labels)
    assert int(ours.num_pushed) == 2500
    torch.testing.assert_close(ours.scales(), expected.scales(), atol=1e-9, rtol=0, equal_nan=True)


@pytest.mark.parametrize("others", [0, 3, 70])
def test_a_second_label_of_an_index_is_told_by_the_next_verification(others: int) -> None:
    pool = make_pool(fixed_shapes=True, fixed_labels=True)
    features, labels, indices = torch.randn(3, DIM), torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    pool.push(features, labels, indices)
    pool.push(features, torch.tensor([1, 0, 3]), indices)
    for _ in range(others):
        pool.push(features, torch.tensor([1, 0, 3]), indices)
    with pytest.raises(ValueError, match="one label for each index, but got others: class 0 and index 5"):
        pool.verify()
    pool.push(features[:2], torch.tensor([1, 2]), torch.tensor([4, 4]))
    with pytest.raises(ValueError, match="index 4"):
        pool.verify()
