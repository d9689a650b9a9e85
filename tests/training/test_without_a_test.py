"""A run that is not tested: `test=false` leaves the test set out of it and out of its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.training.run import train


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=["trainer.max_epochs=2", "backbone.width=4", "test=false", *overrides])


def test_the_test_set_is_neither_seen_nor_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a test batch")

    monkeypatch.setattr(ImbalancedClassifier, "test_step", refuse)
    result = train(config("dataset.validation_fraction=0.25"), tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    found = record["results"]
    assert (found["last"], found["selected"], list(found)) == (None, None, ["last", "selected", "validation"])
    assert result.last is None
    assert result.judged[0] == "validation part"
    assert result.module.last_val_results is not None
    last = result.module.last_val_results["balanced_accuracy"]
    assert found["validation"]["balanced_accuracy"] == pytest.approx(last)
    assert 0.0 < last < 1.0
    assert not record["interrupted"]
    assert record["objective"]["name"] == "val/balanced_accuracy"
    per_class = (tmp_path / "per_class.csv").read_text().splitlines()
    assert per_class[0].endswith("accuracy,precision,average_precision")
    assert per_class[1].endswith(",,,")


def test_without_a_validation_part_nothing_would_be_known() -> None:
    with pytest.raises(WrongCallError, match=r"validation part with test=false.*dataset.validation_per_class=N"):
        check_train(config())
    with pytest.raises(WrongCallError, match="`test` to be true or false, but got 'never'"):
        check_train(config("test=never"))
