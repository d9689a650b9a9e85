"""The benchmark of `measure` runs every way on one file, and says where its figures come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semscale_pl.benchmarks import measure


def test_a_small_run_compares_every_way_and_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "benchmark.json"
    arguments = ["--rows=2000", "--features=70", "--classes=4", "--threads=1", "--out", str(out)]
    assert measure.main(arguments) == 0
    record = json.loads(out.read_text())
    assert record == json.loads(capsys.readouterr().out)
    assert record["setting"]["rows"] == 2000
    assert record["provenance"]["device"]
    assert record["provenance"]["versions"]["numpy"]
    assert set(record["result"]) == {"plain, 1 thread", "measure, 1 thread", "measure with 64 eigenvalues, 1 thread"}
    plain = min((run for name, run in record["result"].items() if "plain" in name), key=lambda run: run["seconds"])
    for run in record["result"].values():
        assert run["difference"] < 1e-5
        assert run["faster_than_plain"] == pytest.approx(plain["seconds"] / run["seconds"])
        assert run["share_of_plain_memory"] == pytest.approx(run["mib"] / plain["mib"])


def test_without_the_loops_there_is_nothing_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["--rows=500", "--features=8", "--classes=4", "--threads=1", "--without-plain"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["setting"]["plain"] is False
    assert set(record["result"]) == {"measure, 1 thread", "measure with 64 eigenvalues, 1 thread"}
    assert all(set(run) == {"seconds", "cpu_seconds", "mib"} for run in record["result"].values())
