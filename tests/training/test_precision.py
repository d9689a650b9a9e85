"""Every precision that the CPU has trains, is tested, measured and recorded, and its checkpoint is of use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from semscale_pl.config.composing import config_dir
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import train


def trained(run_dir: Path, *overrides: str) -> None:
    settings = ["backbone.width=4", "reweighting=semantic_scale", "reweighting.start_epoch=1", *overrides]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        train(compose("train", overrides=settings), run_dir)


@pytest.mark.parametrize("precision", ["64-true", "16-true", "bf16-true", "bf16-mixed"])
def test_a_precision_works_to_the_end(precision: str, tmp_path: Path) -> None:
    # Mixing draws in the precision of the step; its clean pass is one outside of the loop's own.
    settings = (f"trainer.precision={precision}", "mixing=cutmix", "reweighting.mixed=clean", "trainer.max_epochs=2")
    trained(tmp_path, *settings)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["completed_epochs"] == 2
    assert found["scales"]["S'"][0] > 0
    ckpt = tmp_path / "checkpoints/last.ckpt"
    again = evaluate(ckpt)["balanced_accuracy"]
    assert again is not None
    assert again == pytest.approx(found["results"]["last"]["balanced_accuracy"], abs=0.02)
    images = torch.zeros(2, 1, 8, 8)
    assert restore(ckpt).scorer()(images).dtype == torch.float32  # what `predict` and `export` ask


def test_a_resumed_run_keeps_every_digit_of_double_precision(tmp_path: Path) -> None:
    settings = ("trainer.precision=64-true", "trainer.max_epochs=2")
    trained(tmp_path / "whole", *settings)
    trained(tmp_path / "cut", *settings, "trainer.max_steps=6")
    trained(tmp_path / "cut", *settings, f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt")
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
