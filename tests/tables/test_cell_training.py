"""Configurations of cells: composed once for all seeds of a row and column, and each cell's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from semscale_pl.config.composing import composed_from, config_dir
from semscale_pl.tables.cell_training import Task, compose_run


def task(folder: Path, *overrides: str) -> Task:
    folder.mkdir()
    return Task(overrides, str(folder), str(config_dir()), "train", "semscale_pl.training.run:train")


def test_seeds_share_a_composition_but_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[list[str]] = []
    compose = hydra.compose

    def counted(name: str, overrides: list[str]) -> Any:
        composed.append(overrides)
        return compose(name, overrides=overrides)

    monkeypatch.setattr(hydra, "compose", counted)
    variant = ("dataset=digits_lt", "dataset.image_size=16", "loss=balanced_softmax")
    for seed in (3, 11):
        config = compose_run(task(tmp_path / str(seed), *variant, f"seed={seed}"))
        expected = composed_from("train", [*variant, f"seed={seed}"])
        assert OmegaConf.to_container(config) == OmegaConf.to_container(expected)
        kept = OmegaConf.load(tmp_path / str(seed) / ".hydra" / "config.yaml")
        assert OmegaConf.to_container(kept) == OmegaConf.to_container(expected)
        assert OmegaConf.is_struct(config)
        config.dataset.image_size = 99  # as a run changes its own
    assert sum(overrides[-1] == "seed=11" for overrides in composed) == 1  # that of the expectation
    compose_run(task(tmp_path / "other", *variant, "optimizer.lr=0.5", "seed=11"))
    assert composed[-1][-2:] == ["optimizer.lr=0.5", "seed=11"]
