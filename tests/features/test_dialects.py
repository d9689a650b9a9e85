"""Tables as other programs write them, arrays of every kind in Parquet, and files with several arrays."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from semscale_pl.cli.main import main
from semscale_pl.features.opening import open_features

ROWS = 60
X = np.random.default_rng(0).normal(size=(ROWS, 4)).round(4)
LABELS = np.array(["a", "b", "c"])[np.arange(ROWS) // 20]
FRAME = pd.DataFrame(X, columns=["f0", "f1", "f2", "f3"]).assign(label=LABELS)
Make = Callable[[], object]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def csv(name: str = "t.csv", **how: Any) -> Make:
    return lambda: FRAME.to_csv(name, index=False, **how)


def text(content: str, name: str = "t.csv") -> Make:
    return lambda: Path(name).write_text(content, encoding="utf-8")


def lines(separator: str, end: str = "\n") -> str:
    return end.join([separator.join(FRAME.columns), *(separator.join(map(str, row)) for row in FRAME.to_numpy()), ""])


def arrow(**columns: Any) -> Make:
    return lambda: parquet.write_table(pa.table({**columns, "label": columns.get("label", LABELS)}), "t.parquet")


def lists(kind: pa.DataType) -> pa.Array:
    return pa.array([[np.float16(v) for v in row] if "half" in str(kind) else list(row) for row in X], kind)


def tensors(*shape: int) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), shape), lists(pa.list_(pa.float64(), 4)))


READ: dict[str, tuple[Make, str]] = {
    "semicolons": (csv(sep=";"), "t.csv"),
    "tabs": (csv(sep="\t"), "t.csv"),
    "tabs by name": (csv("t.tsv", sep="\t"), "t.tsv"),
    "decimal commas": (csv(sep=";", decimal=","), "t.csv"),
    "decimal commas and tabs": (csv(sep="\t", decimal=","), "t.csv"),
    "decimal commas in quotes": (csv(decimal=",", quoting=1), "t.csv"),
    "spaces": (text(lines(", ")), "t.csv"),
    "spaces on both sides": (text(lines(" , ")), "t.csv"),
    "lines of Windows": (text(lines(",", "\r\n")), "t.csv"),
    "blank lines before": (text("\n\n" + lines(",")), "t.csv"),
    "quotes": (csv(quoting=1), "t.csv"),
    "a mark of the byte order": (csv(encoding="utf-8-sig"), "t.csv"),
    "UTF-16": (csv(encoding="utf-16"), "t.csv"),
    "gzip": (csv("t.csv.gz"), "t.csv.gz"),
    "gzip and tabs": (csv("t.tsv.gz", sep="\t"), "t.tsv.gz"),
    "lists": (arrow(e=lists(pa.list_(pa.float32()))), "t.parquet"),
    "long lists": (arrow(e=lists(pa.large_list(pa.float64()))), "t.parquet"),
    "lists of one length": (arrow(e=lists(pa.list_(pa.float32(), 4))), "t.parquet"),
    "half floats in lists": (arrow(e=lists(pa.list_(pa.float16()))), "t.parquet"),
    "half floats": (arrow(**{f"f{n}": pa.array(X[:, n].astype(np.float16)) for n in range(4)}), "t.parquet"),
    "decimal numbers": (
        arrow(**{f"f{n}": pa.array(X[:, n]).cast(pa.decimal128(30, 8)) for n in range(4)}), "t.parquet"
    ),
    "tensors": (arrow(e=tensors(4)), "t.parquet"),
    "tensors of two dimensions": (arrow(e=tensors(2, 2)), "t.parquet"),
    "dictionaries of labels": (
        arrow(e=tensors(4), label=pa.array(LABELS).dictionary_encode()), "t.parquet"
    ),
    "a list beside an identifier": (arrow(id=range(ROWS), e=lists(pa.list_(pa.float64()))), "t.parquet"),
    "the second list": (arrow(d=tensors(4), e=lists(pa.list_(pa.float64()))), "t.parquet feature_columns=e"),
    "the second list by key": (arrow(d=tensors(4), e=lists(pa.list_(pa.float64()))), "t.parquet feature_key=e"),
    "labels under another name": (lambda: np.savez("t.npz", features=X, kind=LABELS), "t.npz label_column=kind"),
    "labels of another name, compressed": (
        lambda: np.savez_compressed("t.npz", features=X, kind=LABELS), "t.npz label_column=kind"
    ),
    "the second array": (lambda: np.savez("t.npz", d=X * 2, e=X, labels=LABELS), "t.npz feature_key=e"),
    "a matrix beside words": (lambda: np.savez("t.npz", x=X, data=LABELS, y=LABELS), "t.npz"),
    "the second tensor": (
        lambda: torch.save({"d": torch.tensor(X) * 2, "e": torch.tensor(X), "kind": LABELS.tolist()}, "t.pt"),
        "t.pt feature_key=e label_column=kind",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_a_file_as_others_write_it_is_read(case: str) -> None:
    make, given = READ[case]
    make()
    file, *settings = given.split()
    source = open_features(file, **dict(setting.split("=") for setting in settings))
    assert source.class_names == ("a", "b", "c")
    assert [source.class_names[label] for label in source.labels] == LABELS.tolist()
    rows = np.concatenate([piece.copy() for piece in source.rows(np.arange(ROWS), 7)])
    np.testing.assert_allclose(rows, X, atol=2e-3 if "half" in case else 1e-6)


FAULTS: dict[str, tuple[Make, str, tuple[str, ...]]] = {
    "two columns of one name": (
        lambda: parquet.write_table(pa.table([X[:, 0], X[:, 1], LABELS], ["f", "f", "label"]), "t.parquet"),
        "t.parquet", ("`f` comes 2 times",),
    ),
    "two columns of one name but for blanks": (text("f, f ,label\n1,2,a\n"), "t.csv", ("`f` comes again",)),
    "two lists": (arrow(d=tensors(4), e=tensors(4)), "t.parquet", ("found d, e", "feature_key=d")),
    "lists of lists": (arrow(e=pa.array([[[1.0]]] * ROWS)), "t.parquet", ("Flatten each sample",)),
    "other lengths that add up": (
        arrow(e=pa.array([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]] * 20)), "t.parquet", ("rows of other lengths",)
    ),
    "a list that is missing": (arrow(e=pa.array([[1.0]] * 59 + [None])), "t.parquet", ("rows of other lengths",)),
    "a number that is missing": (arrow(e=pa.array([[1.0, None]] * ROWS)), "t.parquet", ("finite", "NaN in 60")),
    "a flag that is missing": (
        arrow(a=pa.array([True, None] * 30), b=pa.array([True, False] * 30)), "t.parquet", ("finite", "NaN in 30")
    ),
    "points among decimal commas": (text("a;b;label\n1,5;2;x\n2.5;3;y\n"), "t.csv", ("'2.5'", "decimal commas")),
    "groups of digits": (text("a;b;label\n1.234,5;2;x\n2,5;3;y\n"), "t.csv", ("'1.234,5'",)),
    "decimal commas between commas": (text("a,b,label\n1,5,2,5,x\n"), "t.csv", ("5", "semicolons where commas are")),
    "separators at the end": (text("a;b;label\n1;2;x;\n"), "t.csv", ("Take the ';' from the end of each line",)),
    "a line of Excel": (text("sep=;\na;b;label\n1;2;x\n"), "t.csv", ("first line, 'sep='",)),
    "a remark before the names": (text("# mine\na,b,label\n1,2,x\n"), "t.csv", ("first line, '# mine'",)),
    "columns parted by blanks": (text("a b label\n1 2 x\n"), "t.csv", ("commas, semicolons or tabs", "'a b label'")),
    "no names": (text("0.5,1.5,x\n2.5,3.5,y\n"), "t.csv", ("names in the first line", "'0.5'")),
    "UTF-16 without its mark": (csv(encoding="utf-16-le"), "t.csv", ("UTF-8",)),
    "compressed under a plain name": (
        lambda: Path("t.csv").write_bytes(gzip.compress(b"a,label\n1,x\n")), "t.csv", ("Call it t.csv.gz",)
    ),
    "a cut gzip": (
        lambda: (csv("u.csv.gz")(), Path("t.csv.gz").write_bytes(Path("u.csv.gz").read_bytes()[:300])), "t.csv.gz",
        ("of gzip", "damaged"),
    ),
    "plain under a name of gzip": (csv("t.csv.gz", compression=None), "t.csv.gz", ("of gzip",)),
    "two matrices": (
        lambda: np.savez("t.npz", features=X, embeddings=X, labels=LABELS), "t.npz",
        ("features, embeddings", "feature_key=features"),
    ),
    "arrays of two lengths": (
        lambda: np.savez("t.npz", f0=X[:, 0], f1=X[:7, 1], labels=LABELS), "t.npz",
        ("f0 with 60 values and f1 with 7", "feature_columns=NAMES"),
    ),
    "a number of each sample among arrays": (
        lambda: np.savez("t.npz", a=X[:, 0], b=X[:, 1], row=np.arange(ROWS), labels=LABELS), "t.npz",
        ("`row`", "feature_columns=a,b"),
    ),
    "words among arrays": (
        lambda: np.savez("t.npz", a=X[:, 0], b=X[:, 1], kind=LABELS), "t.npz", ("`kind` is <U1", "label_column=kind")
    ),
    "labels under a name that was not given": (
        lambda: np.savez("t.npz", x=X, kind=LABELS), "t.npz", ("labels=FILE", "label_column=NAME with one of kind.")
    ),
    "only identifiers": (
        lambda: np.savez("t.npz", ids=np.arange(ROWS)[:, None], labels=LABELS), "t.npz", ("`ids`", "feature_key=ids")
    ),
    "the labels as features": (
        lambda: np.savez("t.npz", x=X, labels=LABELS), "t.npz feature_key=labels", ("its labels",)
    ),
    "no such array": (lambda: np.savez("t.npz", x=X, y=LABELS), "t.npz feature_key=e", ("`e` in t.npz", "found x")),
    "columns of an archive": (
        lambda: np.savez("t.npz", x=X, y=LABELS), "t.npz feature_columns=f*", ("only with a table", "feature_key=NAME")
    ),
    "a key of a lone array": (lambda: np.save("t.npy", X), "t.npy feature_key=x", ("several arrays", "t.npy")),
    "a key of a lone tensor": (lambda: torch.save(torch.tensor(X), "t.pt"), "t.pt feature_key=x", ("lone tensor",)),
    "key and columns": (csv(), "t.csv feature_key=f0 feature_columns=f1", ("`feature_key`", "`feature_columns`")),
    "no names of columns": (csv(), "t.csv feature_columns=,", ("names after `feature_columns=`",)),
    "words among named columns": (
        lambda: FRAME.assign(w="x").to_parquet("t.parquet"), "t.parquet feature_columns=f0,w", ("`w` is",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_read_is_one_line(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, settings, expected = FAULTS[fault]
    make()
    assert main(["measure", *f"features={settings}".split()]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semscale: Expected"), printed.err
    assert printed.err.count("\n") == 1
    assert all(part in printed.err for part in expected), printed.err
    assert not Path("runs").exists()


def test_a_decimal_comma_is_seen_where_it_first_comes() -> None:
    text("a;label\n" + "1;x\n" * 50 + "1,5;y\n")()
    assert next(open_features("t.csv").rows(np.array([50]), 1)).tolist() == [[1.5]]


def test_labels_in_other_encodings(tmp_path: Path) -> None:
    np.save("t.npy", X)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        Path("l.txt").write_text("\n".join(LABELS), encoding=encoding)
        assert open_features("t.npy", "l.txt").class_names == ("a", "b", "c")
    FRAME.rename(columns={"label": "kind"}).to_csv("l.csv", index=False, sep=";")
    FRAME.assign(label="other").to_csv("t.csv", index=False)
    source = open_features("t.csv", "l.csv", label_column="kind")
    assert source.class_names == ("a", "b", "c")
    assert source.num_features == 4
