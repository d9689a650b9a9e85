"""`semscale measure` of files: table, CSV, JSON, report and figures hold what the package's functions say."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import semscale_pl as ss
from semscale_pl.cli.main import main
from semscale_pl.files import claimed
from semscale_pl.measuring.measuring import measure

NAMES = ["beech [red]", "ash", "yew"]
COUNTS = [80, 25, 200]
SAVED = {"scales.json", "scales.csv", "weights.json", "weights.csv"}


def arrays(dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(3), COUNTS))
    centres = 3.0 * generator.normal(size=(3, dim))
    width = np.array([1.0, 2.0, 0.3])[labels, None]
    return (centres[labels] + width * generator.normal(size=(len(labels), dim))).astype(np.float32), labels


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(*settings: str, out: str = "out") -> dict[str, Any]:
    assert main(["measure", *settings, f"out={out}"]) == 0
    return json.loads(Path(out, "scales.json").read_text())  # type: ignore[no-any-return]


def bare(*settings: str, out: str = "out") -> dict[str, Any]:
    return saved(npz(), "report=false", "figures=false", *settings, out=out)


def npz(name: str = "x.npz") -> str:
    features, labels = arrays()
    np.savez(name, features=features, labels=np.array(NAMES)[labels])
    return f"features={name}"


def test_every_number_is_that_of_the_functions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", npz(), "alpha=2"]) == 0
    features, labels = (torch.from_numpy(array) for array in arrays())
    order = torch.tensor([1, 0, 2])  # ash, beech, yew
    places = torch.argsort(order)[labels]
    counts = torch.bincount(places)
    scales = ss.semantic_scales(features.double(), places, 3)
    weights = ss.interclass_weights(ss.class_centres(features.double(), places, 3), 2.0)
    imbalance = ss.semantic_scale_imbalance(scales, weights)
    (folder,) = Path("runs/measure").glob("x-*")
    rows = list(csv.DictReader((folder / "scales.csv").read_text().splitlines()))
    by_name = {row["class"]: row for row in rows}
    expected = {
        "n": counts,
        "effective_number": ss.effective_numbers(counts, 1.0 - 1.0 / len(labels)),
        "scale_bits": scales,
        "interclass_weight": weights,
        "imbalance": imbalance,
        "suggested_weight": ss.scales_to_weights(imbalance, counts),
    }
    for column, values in expected.items():
        found = [float(by_name[name][column]) for name in ("ash", "beech [red]", "yew")]
        assert found == pytest.approx(values.tolist(), rel=1e-5), column
    assert [float(row["imbalance"]) for row in rows] == pytest.approx(sorted(imbalance.tolist()))
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if any(name in line for name in NAMES) and "│" in line]
    assert [line.split("│")[1].strip() for line in lines] == [row["class"] for row in rows]
    assert f"{float(rows[0]['scale_bits']):.2f}" in lines[0]
    assert f"Saved under {folder}" in printed


def test_a_folder_holds_one_measurement_whole() -> None:
    saved(npz())
    Path("out/notes.txt").touch()
    saved(npz(), "report=false", "figures=false")
    assert {path.name for path in Path("out").iterdir()} == {*SAVED, "notes.txt"}


def test_a_second_process_is_refused_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    source = npz()
    with claimed("out"):
        assert main(["measure", source, "out=out"]) == 2
    assert "is writing in out. Wait for it to end" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["x.npz"]


def test_the_folder_holds_everything() -> None:
    record = saved(npz())
    assert {path.name for path in Path("out").iterdir()} == {
        *SAVED, "report.html", "radar.png", "scale_against_count.png", "spectra.png",
    }  # fmt: skip
    assert all(path.read_bytes()[1:4] == b"PNG" for path in Path("out").glob("*.png"))
    page = Path("out/report.html").read_text()
    assert "beech [red]" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:", page)
    assert record["source"]["features"] == "x.npz"
    assert record["source"]["samples"] == sum(COUNTS)
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_neither_report_nor_figures() -> None:
    saved(npz(), "report=false", "figures=false")
    assert {path.name for path in Path("out").iterdir()} == SAVED


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "pt", "csv", "parquet"])
def test_every_format_is_measured_as_memory_is(kind: str) -> None:
    features, labels = arrays()
    frame = pd.DataFrame(features, columns=list("abcdef")).assign(label=labels)
    given = {"npy": "features=x.npy labels=y.npy", "compressed": "features=x.npz"}.get(kind, f"features=x.{kind}")
    if kind == "npy":
        np.save("x.npy", features)
        np.save("y.npy", labels)
    elif kind == "pt":
        torch.save({"features": torch.from_numpy(features), "labels": torch.from_numpy(labels)}, "x.pt")
    elif kind == "csv":
        frame.to_csv("x.csv", index=False)
    elif kind == "parquet":
        frame.to_parquet("x.parquet", row_group_size=50)
    else:
        (np.savez_compressed if kind == "compressed" else np.savez)("x.npz", features=features, labels=labels)
    record = saved(*given.split(), "figures=false", "report=false", "controlled=oas,matched", "intervals=true")
    expected = measure(features, labels, controlled=("oas", "matched"), intervals=True).as_dict()
    for key in ("class_names", "counts", "nearest"):
        assert record[key] == list(expected[key])
    for key in ("scales", "weights", "imbalance", "suggested"):
        assert record[key] == pytest.approx(expected[key], rel=1e-5), key
    for name in ("oas", "matched"):
        assert record["controlled"][name] == pytest.approx(expected["controlled"][name], rel=1e-5)
    assert np.array(record["intervals"]) == pytest.approx(np.array(expected["intervals"]), rel=1e-4)


def test_controlled_scales_and_intervals_stand_beside_the_plain_ones(capsys: pytest.CaptureFixture[str]) -> None:
    # In brackets, as a list is written in a config.
    record = saved(npz(), "controlled=[matched, oas,ledoit_wolf,extrapolated]", "intervals=true", "level=0.9")
    head = capsys.readouterr().out.splitlines()[1]
    titles = ["S' (bits)", "interval of S'", "S' matched", "S' OAS", "S' Ledoit-Wolf", "S' extrapolated", "W", "S"]
    places = [head.index(f" {title} ") for title in titles]
    assert places == sorted(places)
    low, high = np.array(record["intervals"]).T
    assert (low < record["scales"]).all()
    assert (record["scales"] < high).all()
    rows = list(csv.DictReader(Path("out/scales.csv").read_text().splitlines()))
    assert {"scale_bits_low", "scale_bits_high", "scale_bits_matched", "scale_bits_extrapolated"} <= set(rows[0])
    wider = saved(npz(), "intervals=true", "level=0.99", out="wide")["intervals"]
    assert (np.diff(np.array(wider)) > np.diff(np.array(record["intervals"]))).all()


def test_the_ruler_can_be_set() -> None:
    plain, half = bare(out="a"), bare("unit=0.5", out="b")
    assert (np.array(half["scales"]) > plain["scales"]).all()
    features, labels = arrays()
    normed = torch.nn.functional.normalize(torch.from_numpy(features).double())
    expected = ss.semantic_scales(normed, torch.from_numpy(labels), 3)[[1, 0, 2]]
    assert bare("feature_norm=l2", out="c")["scales"] == pytest.approx(expected.tolist(), rel=1e-4)
    by_one = ss.semantic_scales(torch.from_numpy(features).double(), torch.from_numpy(labels), 3, ratio=1.0)
    assert bare("ratio=1", out="d")["scales"] == pytest.approx(by_one[[1, 0, 2]].tolist(), rel=1e-4)
    pooled = bare("num_features=3", out="e")
    assert pooled["source"]["num_features"] == 3
    assert len(bare("spectrum=2", out="f")["spectra"][0]) == 2


def test_one_class_has_no_others_to_be_near_to(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("x.npz", features=arrays()[0], labels=np.zeros(sum(COUNTS), int))
    record = saved("features=x.npz")
    assert record["scales"][0] > 0.0
    assert record["weights"] == record["imbalance"] == [None]
    assert csv_of_one("out")["imbalance"] == ""
    printed = capsys.readouterr().out
    assert "n/a" in printed
    assert "note: 0 is the only class" in printed
    assert not Path("out/radar.png").exists()


def test_one_sample_is_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("x.npz", features=np.ones((1, 4)), labels=["lonely"])
    record = saved("features=x.npz", "intervals=true", "controlled=matched,oas,ledoit_wolf,extrapolated")
    assert record["scales"] == [0.0]
    assert "lonely has a single sample" in capsys.readouterr().out


def csv_of_one(folder: str) -> dict[str, str]:
    (row,) = csv.DictReader(Path(folder, "scales.csv").read_text().splitlines())
    return row


def test_ten_thousand_classes(capsys: pytest.CaptureFixture[str]) -> None:
    features = np.random.default_rng(0).normal(size=(30_000, 4)).astype(np.float32)
    np.savez("x.npz", features=features, labels=np.arange(30_000) // 3)
    record = saved("features=x.npz", "top=5")
    assert len(record["scales"]) == 10_000
    printed = capsys.readouterr().out
    assert "and 9,995 more with a larger S" in printed
    assert printed.count("│") == 5 * 8
    assert len(Path("out/scales.csv").read_text().splitlines()) == 10_001
    assert Path("out/report.html").stat().st_size < 20_000_000


@pytest.mark.parametrize("moment", ["measuring", "writing"])
def test_an_interrupt_leaves_nothing(
    moment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    target = {
        "measuring": "semscale_pl.measuring.measuring.class_table",
        "writing": "semscale_pl.measuring.report.write_report",
    }
    monkeypatch.setattr(target[moment], interrupted)
    assert main(["measure", npz()]) == 130
    line = capsys.readouterr().err
    assert line.startswith("Interrupted. To start again, type: ")
    assert line.endswith(" -m semscale_pl measure features=x.npz\n")
    assert [path.name for path in Path().iterdir()] == ["x.npz"]


def test_a_second_call_replaces_the_first() -> None:
    before = bare()
    Path("out/notes.txt").write_text("mine")
    after = bare("unit=0.5")
    assert after["scales"] != before["scales"]
    assert Path("out/notes.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read the peak of a process's memory")
@pytest.mark.parametrize(("compressed", "rows", "limit"), [(False, 800_000, 600), (True, 250_000, 400)])
def test_max_memory_is_kept(compressed: bool, rows: int, limit: int) -> None:
    features = np.lib.format.open_memmap("x.npy", "w+", np.float32, (rows, 256))  # 781 and 244 MiB
    generator = np.random.default_rng(0)
    for start in range(0, rows, 50_000):
        features[start : start + 50_000] = generator.normal(size=(50_000, 256))
    np.save("y.npy", np.arange(rows) % 100)
    if compressed:
        np.savez_compressed("x.npz", features=features, labels=np.arange(rows) % 100)
    del features
    given = "features=x.npz" if compressed else "features=x.npy labels=y.npy"
    program = (
        "import sys; from semscale_pl.cli.main import main; "
        f"code = main(['measure', *'{given} max_memory={limit}MiB report=false figures=false'.split()]); "
        "lines = open('/proc/self/status').read().splitlines(); "
        "print(next(line for line in lines if line.startswith('VmHWM'))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024 <= limit
