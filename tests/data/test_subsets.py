"""The same number of every class and lists of images: nesting, hashes, configs and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.config.checks import check_train
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.longtail import index_hash, listed_indices, long_tail_indices, per_class_indices, training_subset
from semscale_pl.data.source import DataError

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
def test_refusals(profile: str, options: dict[str, Any], match: str) -> None:
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
