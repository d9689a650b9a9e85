"""The lines before the first minute of a run, and the one line of a job in a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from semscale_pl.cli.main import main

SHORT = ["backbone.width=4", "trainer.fast_dev_run=true", "reweighting=semantic_scale"]


def test_a_run_says_what_it_is_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "hydra.run.dir=run", "dataset.validation_per_class=2", *SHORT]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("digits_lt: 10 classes, ")
    assert lines[0].endswith("(largest class '0' 105, smallest '7' 1), 15 held out, 719 for the test")
    assert lines[1].startswith("1 x 8 x 8 images, small_cnn with ")
    assert lines[2] == "loss ce, re-weighting semantic_scale from epoch 5 on (counted from 0)"
    assert lines[3].startswith("30 epochs of batches of 64, precision 32-true, on ")
    assert lines[4] == f"run folder {tmp_path / 'run'}"
    assert lines[5].startswith("epoch 1/1")


def test_a_job_of_a_sweep_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "-m", "hydra.sweep.dir=sweep", "seed=0,1", *SHORT])
    found = [line for line in capsys.readouterr().err.splitlines() if line.startswith("digits_lt")]
    assert [line.partition(": ")[0][-6:] for line in found] == ["seed 0", "seed 1"]
    assert not any("training images" in line for line in found)
