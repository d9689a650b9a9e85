"""Sweeps: every job is checked before the first, and settings of a swept group are for the options that have them."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import HydraException

from semscale_pl.cli.main import main
from semscale_pl.config.sweeps import check_sweep, is_sweep, runnable

BASELINE = ["-m", "reweighting=none,semantic_scale", "reweighting.start_epoch=2", "seed=0,1"]


def jobs(*arguments: str) -> list[Any]:
    found: list[Any] = []
    check_sweep("train", arguments, found.append)
    return found


def test_a_sweep_is_told_by_its_flag() -> None:
    assert is_sweep(["-m", "seed=0,1"])
    assert is_sweep(["seed=0,1", "--multirun"])
    assert not is_sweep(["seed=0"])


def test_a_setting_of_a_swept_group_is_for_the_options_that_have_it() -> None:
    found = jobs(*BASELINE)
    assert [config.seed for config in found] == [0, 1, 0, 1]
    assert ["start_epoch" in config.reweighting for config in found] == [False, False, True, True]
    assert {config.reweighting.start_epoch for config in found[2:]} == {2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "reweighting=none,semantic_scale", "reweighting.start_epok=2"],
        ["-m", "reweighting=class_balanced,semantic_scale", "reweighting.alpha=2"],
        ["-m", "reweighting=none", "reweighting.start_epoch=2", "seed=0,1"],
        ["-m", "loss=ce,focal", "loss.gamma=2"],
        ["-m", "reweighting=none,semantic_scale", "reweighting.power=1,2"],
    ],
    ids=["typo", "an option without it", "only the baseline", "a loss without it", "swept itself"],
)
def test_a_setting_that_an_option_lacks_is_still_an_error(arguments: list[str]) -> None:
    with pytest.raises(HydraException):
        jobs(*arguments)


def test_other_settings_are_left_to_hydra() -> None:
    assert runnable(BASELINE) == [*BASELINE[:2], "++reweighting.start_epoch=2", "seed=0,1"]
    plain = ["reweighting=semantic_scale", "reweighting.start_epoch=2", "-m", "seed=0,1"]
    assert runnable(plain) == plain


@pytest.mark.slow
def test_a_baseline_is_swept_beside_a_setting_it_lacks(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["-m", "reweighting=none,semantic_scale", "reweighting.start_epoch=1", "trainer.max_epochs=2"]
    assert main(["train", *call, f"hydra.sweep.dir={tmp_path}/sweep"]) == 0
    assert sorted(path.parent.name for path in tmp_path.glob("sweep/*/metrics.json")) == ["0", "1"]
