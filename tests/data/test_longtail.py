"""Which images stay: long tails against closed forms and published totals, equal classes and lists, refusals."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from semscale_pl.config.checks import check_train
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.longtail import (
    carve_validation,
    index_hash,
    listed_indices,
    long_tail,
    long_tail_indices,
    per_class_indices,
    stratified_split,
    training_subset,
)
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


CONF = Path(__file__).parents[2] / "conf"
LABELS = torch.tensor([0, 1, 2] * 20)


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.sampled_from(["seeded", "first", "cao_seed0"]))
def test_fewer_images_are_a_subset_of_more(one: int, other: int, seed: int, rule: str) -> None:
    small, large = (per_class_indices(LABELS, 3, size, seed, rule) for size in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist())
    assert torch.bincount(LABELS[small], minlength=3).tolist() == [min(one, other)] * 3
    assert small.tolist() == sorted(small.tolist())


def test_seeds_differ_and_the_long_tail_is_what_it_was() -> None:
    assert not torch.equal(per_class_indices(LABELS, 3, 5, 0), per_class_indices(LABELS, 3, 5, 1))
    chosen = training_subset(LABELS, 3, "exponential", factor=10, seed=3, class_order="reversed")
    assert torch.equal(chosen, long_tail_indices(LABELS, 3, 10, seed=3, class_order="reversed"))


@pytest.mark.parametrize("dataset", ["digits", "digits_lt"])
def test_per_class_works_with_every_dataset(dataset: str) -> None:
    cfg = composed(f"dataset={dataset}", "imbalance=per_class", "imbalance.samples=7")
    check_train(cfg)
    data = instantiate(cfg.dataset)
    data.setup()
    assert data.class_counts.tolist() == [7] * 10
    assert data.index_hash == index_hash(data.train_dataset.rows)


def test_listed_images_in_any_order(tmp_path: Path) -> None:
    rows = torch.randperm(1078, generator=torch.Generator().manual_seed(0))[:200].tolist()
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    cfg = composed("dataset=digits_lt", "imbalance=listed", f"imbalance.file={file}")
    check_train(cfg)
    data = instantiate(cfg.dataset)
    data.setup()
    assert data.train_dataset.rows.tolist() == sorted(rows)
    assert data.index_hash == index_hash(torch.tensor(sorted(rows)))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[0, 0, 1, 2]", "once"),
        ("[0, 1, 60]", r"0\.\.59"),
        ("[-1, 1, 2]", r"0\.\.59"),
        ("[0, 1]", "class 2"),
        ("[]", "list of integers"),
        ("[0, 1, 2.0]", "list of integers"),
        ("[true, 1, 2]", "list of integers"),
        ('{"rows": [1]}', "list of integers"),
        ("[0, 1", "JSON"),
    ],
)
def test_a_wrong_list_is_told_in_one_line(text: str, match: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(DataError, match=match) as caught:
        listed_indices(file, LABELS, 3)
    assert "\n" not in str(caught.value)


def test_an_absent_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        listed_indices(tmp_path / "none.json", LABELS, 3)


@pytest.mark.parametrize(
    ("profile", "options", "match"),
    [
        ("per_class", {"samples": 21}, "class 0 has 20"),
        ("per_class", {"samples": 0}, "at least 1"),
        ("per_class", {}, "at least 1"),
        ("per_class", {"samples": 2, "factor": 10}, "imbalance_factor"),
        ("per_class", {"samples": 2, "subset_rule": "last"}, "subset_rule"),
        ("listed", {}, "imbalance.file"),
        ("linear", {}, "one of none"),
        ("none", {"factor": 10}, "imbalance=none"),
    ],
)
def test_subsets_are_refused(profile: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        training_subset(LABELS, 3, profile, **options)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["imbalance=per_class", "imbalance.samples=0"], "imbalance.samples"),
        (["imbalance=per_class", "imbalance_factor=10"], "imbalance=per_class"),
        (["imbalance=listed"], "imbalance.file"),
        (["imbalance=listed", "imbalance.file=none.json"], "imbalance.file"),
    ],
)
def test_the_command_line_refuses_before_anything_is_built(overrides: list[str], match: str) -> None:
    with pytest.raises(WrongCallError, match=match):
        check_train(composed(*overrides))
