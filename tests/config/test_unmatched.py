"""Rows of a comparison that differ in what their names do not say."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from semscale_pl.config.composing import config_dir
from semscale_pl.config.unmatched import unmatched


@functools.cache
def runs(*overrides: str, seeds: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Compose a row's runs, one a seed, as their records have them."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        found = [compose("train", overrides=[*overrides, f"seed={seed}"]) for seed in seeds]
    return [OmegaConf.to_container(cfg, resolve=True) for cfg in found]  # type: ignore[misc]


CE = runs("reweighting=none")
DSB = runs("reweighting=semantic_scale")


def test_re_weightings_that_begin_in_different_epochs_are_noted() -> None:
    rows = {"CE": CE, "IF": runs("reweighting=inverse_frequency"), "DSB": DSB}
    assert unmatched(rows) == ["Not matched: `reweighting.start_epoch` is 0 in IF; 5 in DSB."]
    start = "reweighting.start_epoch=3"
    matched = {
        "CE": CE,
        **{name: runs(f"reweighting={name}", start) for name in ("inverse_frequency", "semantic_scale")},
    }
    assert unmatched(matched) == []


def test_a_share_of_the_epochs_is_the_epoch_that_it_comes_to() -> None:
    deferred = runs("reweighting=class_balanced_drw", "trainer.max_epochs=10")
    same = runs("reweighting=semantic_scale", "trainer.max_epochs=10", "reweighting.start_epoch=8")
    assert unmatched({"DRW": deferred, "DSB": same}) == []
    last = runs("reweighting=class_balanced_drw", "trainer.max_epochs=10", "reweighting.start_epoch=0.99")
    assert unmatched({"DRW": last, "DSB": same}) == ["Not matched: `reweighting.start_epoch` is 9 in DRW; 8 in DSB."]


def test_a_normalization_is_noted_but_for_a_prior_which_it_only_shifts() -> None:
    start = "reweighting.start_epoch=5"
    rows = {"A": DSB, "class": runs("reweighting=semantic_scale", "reweighting.normalization=class")}
    assert unmatched(rows) == ["Not matched: `reweighting.normalization` is sample in A; class in class."]
    prior = runs("reweighting=semantic_scale_prior", start, "reweighting.normalization=class")
    assert unmatched({"A": DSB, "prior": prior}) == []


@pytest.mark.parametrize(
    ("override", "noted"),
    [
        ("trainer.max_epochs=7", "`trainer.max_epochs` is 30 in A; 7 in B"),
        ("trainer.precision=bf16-mixed", "`trainer.precision` is 32-true in A; bf16-mixed in B"),
        ("dataset.batch_size=8", "`dataset.batch_size` is 64 in A; 8 in B"),
        ("optimizer.lr=0.5", "`optimizer.lr` is 0.05 in A; 0.5 in B"),
        ("lr_reference_batch=128", "`lr_reference_batch` is null in A; 128 in B"),
        ("augmentation=crop", "`augmentation.transform` is null in A"),
        ("sampler=class_balanced", "`sampler` is InstanceSampling in A; PowerSampling in B"),
        ("backbone=resnet20", "`backbone` is SmallCNN in A; ResNetCifar in B"),
        ("backbone.width=8", "`backbone.width` is 32 in A; 8 in B"),
        ("mixing=mixup", "`mixing` is none in A; Mixing in B"),
        ("scheduler=none", "`scheduler` is CosineAnnealingLR in A; none in B"),
        ("imbalance_factor=10", "`dataset.imbalance_factor` is 100 in A; 10 in B"),
        ("subset_seed=9", "`subset_seed` is 0 in A; 9 in B"),
        ("loss.label_smoothing=0.1", "`loss.label_smoothing` is 0.0 in A; 0.1 in B"),
        ("dataset.num_workers=2", ""),
        ("loss=focal", ""),
    ],
)
def test_what_else_a_row_differs_in(override: str, noted: str) -> None:
    both = ("trainer.max_epochs=30", "imbalance_factor=100")
    found = unmatched({"A": runs(*both), "B": runs(*both, override)})
    assert noted in " ".join(found)
    assert bool(found) == bool(noted)


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("optimizer.lr=0.5", "optimizer.lr=0.5"),
        ("CE, lr 0.5", "optimizer.lr=0.5"),
        ("7 epochs", "trainer.max_epochs=7"),
        ("ResNet-20", "backbone=resnet20"),
        ("mixup, CE", "mixing=mixup"),
        ("class-balanced sampler", "sampler=class_balanced"),
        ("loss=ce imbalance_factor=10", "imbalance_factor=10"),
        ("small CNN, digits", "dataset=digits"),
    ],
)
def test_a_row_may_be_named_for_what_it_differs_in(name: str, override: str) -> None:
    assert unmatched({"A": CE, name: runs(override)}) == []
    assert len(unmatched({"A": CE, "B": runs(override)})) >= 1


def test_seeds_are_compared_as_a_whole_and_a_choice_of_images_only_where_it_is_another() -> None:
    rows = {"A": runs(seeds=(0, 1)), "B": runs(seeds=(1, 0)), "C": runs(seeds=(2,)), "D": []}
    assert unmatched(rows) == ["Not matched: `seed` is 0, 1 in A, B; 2 in C."]
    fixed = runs("subset_seed=0", seeds=(0, 1))
    assert unmatched({"A": rows["A"], "B": fixed}) == ["Not matched: `subset_seed` is 0, 1 in A; 0, 0 in B."]


def test_many_rows_are_counted_not_listed() -> None:
    rows = {f"row {number}": DSB for number in range(6)}
    rows["a, b"] = runs("reweighting=semantic_scale", "reweighting.start_epoch=2")
    assert unmatched(rows) == ['Not matched: `reweighting.start_epoch` is 2 in "a, b"; 5 in the other 6 rows.']
