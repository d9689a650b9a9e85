"""The benchmark of the Gaussian classifier: every way fits the file, and what does not fit into memory is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.benchmarks import gaussian


def test_all_ways_fit_the_same_file_and_ours_is_the_rivals_classifier(tmp_path: Path) -> None:
    gaussian._make(tmp_path, 300, 6, 3)
    rows, labels = np.load(tmp_path / "test.npy").astype(np.float32), np.load(tmp_path / "test_labels.npy")
    right = {}
    for solver in ("lsqr", "eigen"):
        right[solver] = gaussian.rival(tmp_path, solver)(rows)
    for chosen in (False, True):
        right[str(chosen)] = gaussian.streamed(tmp_path, chosen)(rows)
    assert all(np.mean(found == labels) > 0.4 for found in right.values())
    assert np.mean(right["False"] == right["lsqr"]) > 0.9


def test_what_does_not_fit_into_memory_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "_free_bytes", lambda: 100 * 4 * 5)
    monkeypatch.setattr(gaussian, "_in_a_process", lambda *_: {"seconds": 2.0, "cpu_seconds": 1.0, "mib": 40.0})
    found = gaussian.compare(100, 4, 2, 1)
    assert found["gaussian"]["share_of_cpu_seconds"] == found["lda lsqr"]["share_of_memory"] == 1.0
    assert found["lda eigen"] == {"left_out": "its arrays take 0.0 GB, 0.0 GB were free"}
    assert gaussian.render({"eigen": found["lda eigen"]}).endswith("left out: its arrays take 0.0 GB, 0.0 GB were free")


@pytest.mark.slow
def test_the_command_prints_and_saves_figures_of_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = f"--rows 100 --features 4 --classes 2 --ways gaussian --out {tmp_path}/found.json"
    assert gaussian.main(call.split()) == 0
    assert "% right" in capsys.readouterr().out
    run = json.loads((tmp_path / "found.json").read_text())["result"]["gaussian"]
    assert run["mib"] > 10
    assert run["accuracy"] > 50
