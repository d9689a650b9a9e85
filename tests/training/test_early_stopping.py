"""`callbacks=early_stopping` ends a training whose validation has stopped rising, and only such a one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.training.run import TrainResult, train


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    held_out = ["callbacks=early_stopping", "dataset.validation_per_class=2", "trainer.max_epochs=6"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*held_out, *overrides])
    check_train(cfg)
    return train(cfg, run_dir)


def test_stops_after_as_many_validations_as_patience_allows(tmp_path: Path) -> None:
    # No rise reaches the whole range of an accuracy: the first validation is the best, two more use the patience up.
    settings = ["callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=1.5"]
    result = trained(tmp_path, *settings)
    assert result.trainer.current_epoch == 3
    assert result.best is not None
    assert (tmp_path / "metrics.json").is_file()
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_trains_on_while_patience_lasts(tmp_path: Path) -> None:
    result = trained(tmp_path, "callbacks.early_stopping.patience=6")
    assert result.trainer.current_epoch == 6


def test_counts_validations_where_they_are_rarer_than_epochs(tmp_path: Path) -> None:
    settings = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1.5"]
    result = trained(tmp_path, *settings, "trainer.check_val_every_n_epoch=2")
    assert result.trainer.current_epoch == 4


def test_a_resumed_run_remembers_its_patience(tmp_path: Path) -> None:
    settings = ["callbacks.early_stopping.patience=3", "callbacks.early_stopping.min_delta=1.5"]
    trained(tmp_path, *settings, "trainer.max_epochs=2")
    result = trained(tmp_path, *settings, f"ckpt_path={tmp_path / 'checkpoints' / 'last.ckpt'}")
    assert result.trainer.current_epoch == 4


@pytest.mark.parametrize(
    "reweighting", [["reweighting=cdb"], ["reweighting=semantic_scale", "reweighting.start_epoch=1"]]
)
def test_goes_with_re_weighting(reweighting: list[str], tmp_path: Path) -> None:
    result = trained(tmp_path, *reweighting, "trainer.max_epochs=2")
    assert result.trainer.current_epoch == 2
