"""A sweep over loss, re-weighting and imbalance on long-tailed MNIST, as it is typed; needs MNIST in SEMSCALE_DATA."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from omegaconf import DictConfig

from semscale_pl.cli.main import main
from semscale_pl.config.checks import check_train as check
from semscale_pl.config.sweeps import check_sweep

SWEEP = ["dataset=mnist_lt", "loss=ce,focal", "reweighting=none,semantic_scale", "imbalance_factor=10,100"]
# int(size * factor ** (-i / 9)) of the first four classes, which have 5,923, 6,742, 5,958 and 6,131 images.
COUNTS = {10: [5923, 5220, 3571, 2845], 100: [5923, 4041, 2141, 1320]}


def test_composes_and_passes_the_checks() -> None:
    found: list[tuple[str, str, float]] = []

    def keep(cfg: DictConfig) -> None:
        check(cfg)
        found.append((cfg.loss._target_, str(cfg.reweighting._target_), cfg.imbalance_factor))

    check_sweep("train", ["-m", *SWEEP], keep)
    assert len(set(found)) == 8


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("SEMSCALE_DATA", "data")) / "MNIST" / "raw").is_dir(), reason="MNIST is not at hand"
)
def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSCALE_DATA", str(Path(os.environ.get("SEMSCALE_DATA", "data")).resolve()))
    monkeypatch.chdir(tmp_path)
    # Weights begin in the first of one epochs; `++` gives the key to reweighting=none as well, where nothing reads it.
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=5", "++reweighting.start_epoch=0"]
    assert main(["train", "-m", *SWEEP, *short]) == 0
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("metrics.json"))]
    assert len(records) == 8
    for record in records:
        assert record["completed_epochs"] == 1
        assert record["class_counts"][:4] == COUNTS[record["config"]["imbalance_factor"]]
        assert 0 < record["results"]["last"]["balanced_accuracy"] <= 1
    assert len({json.dumps(record["config"], sort_keys=True) for record in records}) == 8
