"""A checkpoint made before classes moved to other modules is evaluated, restored and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from semscale_pl.config.composing import config_dir
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import train

DATA = Path(__file__).parent / "data"
CHECKPOINT = DATA / "before_the_move.ckpt"
SETTINGS = [
    "dataset=digits_lt", "imbalance_factor=100", "loss=ldam", "classifier=cosine", "augmentation=crop_flip",
    "mixing=mixup", "backbone.width=4", "seed=3", "reweighting=semantic_scale", "reweighting.num_features=8",
    "reweighting.start_epoch=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def record() -> Any:
    return json.loads((DATA / "before_the_move.json").read_text())


def test_the_file_names_modules_that_are_gone() -> None:
    assert b"semscale_pl.data.digits.Digits" in CHECKPOINT.read_bytes()
    assert b"semscale_pl.callbacks.semantic_scale.SemanticScaleReweighting" in CHECKPOINT.read_bytes()


def test_evaluation_gives_the_numbers_of_the_run_s_record(record: Any) -> None:
    found, stored = evaluate(CHECKPOINT), record["results"]["last"]
    assert found["confusion_matrix"] == stored["confusion_matrix"]
    assert found["per_class"]["accuracy"] == pytest.approx(stored["per_class"]["accuracy"])
    for name in ("top1", "balanced_accuracy", "tail", "bias", "ece", "mean_average_precision"):
        assert found[name] == pytest.approx(stored[name], rel=1e-5)  # type: ignore[literal-required]


def test_the_restored_configuration_has_today_s_names() -> None:
    restored = restore(CHECKPOINT)
    assert restored.config.dataset.source._target_ == "semscale_pl.data.vision.Digits"
    assert restored.scorer()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_it_is_resumed_where_it_ended(tmp_path: Path, record: Any) -> None:
    old_name = "reweighting._target_=semscale_pl.callbacks.semantic_scale.SemanticScaleReweighting"
    more = ["trainer.max_epochs=3", f"ckpt_path={CHECKPOINT}", old_name]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*SETTINGS, *more])
    result = train(cfg, tmp_path)
    assert (result.trainer.current_epoch, result.trainer.global_step) == (3, 15)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["index_hash"] == record["index_hash"]
    assert len((tmp_path / "csv" / "metrics.csv").read_text().splitlines()) > 1
