"""Long-tailed subsets against closed forms and the published totals."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from semscale_pl.data.longtail import carve_validation, index_hash, long_tail, long_tail_indices, stratified_split
from semscale_pl.data.source import DataError


def labels_of(sizes: list[int], seed: int = 0) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def counts_of(labels: torch.Tensor, rows: torch.Tensor, num_classes: int) -> list[int]:
    return torch.bincount(labels[rows], minlength=num_classes).tolist()


@pytest.mark.parametrize(
    ("num_classes", "size", "factor", "total"),
    [
        (10, 5000, 100, 12406),
        (10, 5000, 50, 13996),
        (10, 5000, 10, 20431),
        (10, 5000, 200, 11203),
        (100, 500, 100, 10847),
        (100, 500, 50, 12608),
        (100, 500, 10, 19573),
        (100, 500, 200, 9502),
    ],
)
def test_published_totals_of_cifar_lt(num_classes: int, size: int, factor: float, total: int) -> None:
    labels = labels_of([size] * num_classes)
    rows = long_tail_indices(labels, num_classes, factor)
    assert len(rows) == total
    assert len(rows.unique()) == total


def test_own_sizes_step_and_orders() -> None:
    labels = labels_of([80, 40, 60, 20])
    assert counts_of(labels, long_tail_indices(labels, 4, 8), 4) == [80, 20, 15, 2]
    assert counts_of(labels, long_tail_indices(labels, 4, 4, "step"), 4) == [80, 40, 15, 5]
    assert counts_of(labels, long_tail_indices(labels, 4, 8, class_order="reversed"), 4) == [10, 10, 30, 20]
    even = labels_of([64] * 4)
    permuted = {
        tuple(counts_of(even, long_tail_indices(even, 4, 8, seed=s, class_order="permuted"), 4)) for s in range(9)
    }
    assert len(permuted) > 3
    assert all(sorted(counts) == [8, 16, 32, 64] for counts in permuted)


def test_cao_seed0_is_numpys_legacy_shuffle() -> None:
    labels = labels_of([50, 50, 50])
    np.random.seed(0)
    expected = []
    for label, count in enumerate([50, 15, 5]):
        members = np.where(labels.numpy() == label)[0]
        np.random.shuffle(members)
        expected += members[:count].tolist()
    assert long_tail_indices(labels, 3, 10, subset_rule="cao_seed0").tolist() == sorted(expected)


def test_rules_and_seeds() -> None:
    labels = labels_of([50, 50])
    first = long_tail_indices(labels, 2, 10, subset_rule="first")
    tail = torch.nonzero(labels == 1).flatten()[:5]
    assert torch.equal(first[labels[first] == 1], tail)
    assert not torch.equal(long_tail_indices(labels, 2, 10, seed=0), long_tail_indices(labels, 2, 10, seed=1))
    assert torch.equal(long_tail_indices(labels, 2, 10, seed=1), long_tail_indices(labels, 2, 10, seed=1))


@pytest.mark.parametrize(
    ("factor", "profile", "options", "match"),
    [
        (10, "none", {}, "imbalance=none"),
        (0.1, "exponential", {}, "at least 1"),
        (float("nan"), "exponential", {}, "at least 1"),
        (10, "linear", {}, "imbalance"),
        (10, "step", {"class_order": "size"}, "class_order"),
        (10, "step", {"subset_rule": "last"}, "subset_rule"),
    ],
)
def test_refusals(factor: float, profile: str, options: dict[str, str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        long_tail_indices(labels_of([5, 5]), 2, factor, profile, **options)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 12), st.integers(0, 5))
def test_carving_leaves_one_of_each_class(sizes: list[int], per_class: int, seed: int) -> None:
    labels = labels_of(sizes)
    train, validation = carve_validation(labels, len(sizes), per_class=per_class, seed=seed)
    assert sorted(train.tolist() + validation.tolist()) == list(range(len(labels)))
    assert counts_of(labels, validation, len(sizes)) == [min(per_class, size - 1) for size in sizes]


def test_carving_a_fraction() -> None:
    labels = labels_of([20, 10, 1])
    assert counts_of(labels, carve_validation(labels, 3, fraction=0.25)[1], 3) == [5, 2, 0]
    assert len(carve_validation(labels, 3)[1]) == 0


def test_stratified_split_is_a_partition() -> None:
    labels = labels_of([10, 5])
    first, second = stratified_split(labels, 0.6, 3)
    assert counts_of(labels, first, 2) == [6, 3]
    assert sorted(first.tolist() + second.tolist()) == list(range(15))


def test_index_hash_is_sha256_of_little_endian_int64() -> None:
    expected = hashlib.sha256(struct.pack("<3q", 7, 0, 2**40)).hexdigest()[:16]
    assert index_hash(torch.tensor([7, 0, 2**40])) == expected
    assert index_hash(torch.tensor([0, 7, 2**40])) != expected


def test_any_dataset_becomes_long_tailed() -> None:
    labels = labels_of([20, 20])
    subset = long_tail(TensorDataset(labels), labels, 10)
    assert sorted(int(sample[0]) for sample in subset) == [0] * 20 + [1] * 2


def test_stratified_split_leaves_a_class_of_one_image_in_the_first_part() -> None:
    first, second = stratified_split(torch.tensor([0, 0, 0, 0, 1]), 0.5, 0)
    assert first.tolist()[-1] == 4
    assert len(first) == 3
    assert len(second) == 2


def test_stratified_split_that_leaves_nothing_to_test() -> None:
    with pytest.raises(DataError, match=r"`train_fraction` to leave images .* 0\.9 of classes of at most 2 images"):
        stratified_split(torch.tensor([0, 0, 1, 1]), 0.9, 0)
