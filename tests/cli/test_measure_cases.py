"""`semscale measure` gives the same scales of the same samples, however a small file holds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from semscale_pl.cli.main import main

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
SCALES = [4.27, 4.17, 4.66]


def frame(*labels: str) -> pd.DataFrame:
    return pd.DataFrame(X, columns=["f0", "f1", "f2", "f3"]).assign(label=np.repeat(labels or ["a", "b", "c"], 20))


def indexed() -> None:
    frame().set_index(pd.Index(np.arange(60) + 1000 * (np.arange(60) > 9), name="sample_id")).to_parquet("t.parquet")


def tensors() -> None:
    stored = pa.array(list(X), pa.list_(pa.float32(), 4))
    kind = pa.fixed_shape_tensor(pa.float32(), (4,), permutation=[0])
    table = {"embedding": pa.ExtensionArray.from_storage(kind, stored), "label": frame()["label"].to_numpy(str)}
    parquet.write_table(pa.table(table), "t.parquet")


MEASURED: dict[str, tuple[Callable[[], object], str, list[str]]] = {
    "zeros": (lambda: frame("001", "002", "010").to_csv("t.csv", index=False), "t.csv", ["001", "002", "010"]),
    "underscores": (lambda: frame("1_0", "1_1", "1_2").to_csv("t.csv", index=False), "t.csv", ["1_0", "1_1", "1_2"]),
    "exponents": (lambda: frame("1e1", "2e1", "3e1").to_csv("t.csv", index=False), "t.csv", ["1e1", "2e1", "3e1"]),
    "versions": (lambda: frame("1.0", "1.1", "1.2").to_csv("t.csv", index=False), "t.csv", ["1.0", "1.1", "1.2"]),
    "index": (indexed, "t.parquet", ["a", "b", "c"]),
    "tensors": (tensors, "t.parquet", ["a", "b", "c"]),
    "semicolons": (lambda: frame().to_csv("t.csv", index=False, sep=";"), "t.csv", ["a", "b", "c"]),
    "decimal commas": (lambda: frame().to_csv("t.csv", index=False, sep=";", decimal=","), "t.csv", ["a", "b", "c"]),
    "spaces": (
        lambda: Path("t.csv").write_text(frame().to_csv(index=False).replace(",", ", ")), "t.csv", ["a", "b", "c"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEASURED)
def test_the_scales_are_those_of_the_samples(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, file, names = MEASURED[case]
    make()
    assert main(["measure", f"features={file}", "out=out", "report=false", "figures=false"]) == 0
    record = json.loads(Path("out/scales.json").read_text())
    assert record["class_names"] == names
    assert record["scales"] == pytest.approx(SCALES, abs=0.005)
    assert record["source"]["num_features"] == 4
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in names)
    assert ("left out: sample_id (index of pandas)" in printed) == (case == "index")
    table = pd.read_csv("out/scales.csv", dtype={"class": str})
    assert sorted(table["class"]) == names


def test_two_columns_of_one_name_and_a_saved_index_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    parquet.write_table(pa.table([X[:, 0], X[:, 1], frame()["label"].to_numpy(str)], ["f", "f", "label"]), "t.parquet")
    assert main(["measure", "features=t.parquet"]) == 2
    assert "but `f` comes 2 times" in capsys.readouterr().err
    frame().to_csv("t.csv")
    pd.read_csv("t.csv").to_csv("again.csv", index=False)  # its first column is now `Unnamed: 0`
    assert main(["measure", "features=again.csv"]) == 2
    line = capsys.readouterr().err
    assert "`Unnamed: 0`" in line
    cure = next(word for word in line.replace(",", "").split() if word.startswith("feature_columns="))
    assert main(["measure", "features=again.csv", cure, "out=out", "report=false", "figures=false"]) == 0
    np.savez("ids.npz", features=X, labels=np.repeat(2**24 + np.arange(3), 20).astype(np.float32))
    assert main(["measure", "features=ids.npz"]) == 2
    assert "cannot be told apart in float32" in capsys.readouterr().err
