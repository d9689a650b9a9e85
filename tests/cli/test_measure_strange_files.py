"""More files that `semscale measure` must not take for something else: damage, indices, labels that run together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from semscale_pl.cli.main import main
from semscale_pl.features import open_features

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
Y = np.arange(60) % 3
Make = Callable[[], object]


def npz(features: object = X, labels: object = Y) -> None:
    np.savez("f.npz", features=features, labels=labels)  # type: ignore[arg-type]


def pt(features: object = None, labels: object = None) -> None:
    features, labels = torch.tensor(X) if features is None else features, torch.tensor(Y) if labels is None else labels
    torch.save({"features": features, "labels": labels}, "f.pt")


def parquet() -> None:
    pd.DataFrame(X, columns=list("abcde")).assign(label=Y).to_parquet("f.parquet")


def header(name: str, shape: tuple[int, ...], kind: str = "<f4") -> Make:
    def made() -> None:
        np.save("f.npy", X)
        np.save("l.npy", Y)
        with open(name, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
            file.write(b"x" * 100)

    return made


def spoilt(name: str, make: Make, place: int) -> Make:
    def made() -> None:
        make()
        content = bytearray(Path(name).read_bytes())
        content[place : place + 40] = b"\x7a" * 40
        Path(name).write_bytes(content)

    return made


def text(name: str, content: str) -> Make:
    return lambda: Path(name).write_text(content, encoding="utf-8")


def with_lines(content: str) -> Make:
    return lambda: (np.save("f.npy", X[:2]), text("l.txt", content)())


FAULTS: dict[str, tuple[Make, str, tuple[str, ...]]] = {
    "circle of links": (lambda: (os.symlink("g.npz", "f.npz"), os.symlink("f.npz", "g.npz")), "f.npz", ("`features`",)),
    "npy called npz": (lambda: (np.save("f.npy", X), Path("f.npy").rename("f.npz")), "f.npz", ("no archive",)),
    "npz called pt": (lambda: (npz(), Path("f.npz").rename("f.pt")), "f.pt", ("torch.save",)),
    "bits turned over in npz": (spoilt("f.npz", npz, 400), "f.npz", ("f.npz", "damaged")),
    "damaged page of parquet": (spoilt("f.parquet", parquet, 10), "f.parquet", ("Parquet", "damaged")),
    "claims more labels than memory": (
        header("l.npy", (10**12,), "<i8"), "f.npy labels=l.npy", ("1,000,000,000,000 values in l.npy", "cut off")
    ),
    "negative shape": (header("f.npy", (-5, 3)), "f.npy labels=l.npy", ("f.npy", "(-5, 3)")),
    "shape beyond 64 bits": (header("f.npy", (2**32, 2**32)), "f.npy labels=l.npy", ("f.npy", "cut off")),
    "larger than can be squared": (lambda: npz(X.astype(float) * 1e200), "f.npz", ("at most 1e+100", "60 of 60 rows")),
    "sparse tensor": (lambda: pt(torch.tensor(X).to_sparse()), "f.pt", ("dense tensor", "sparse")),
    "meta tensor": (lambda: pt(torch.empty(60, 5, device="meta")), "f.pt", ("dense tensor", "meta")),
    "lists of labels": (lambda: pt(labels=[[0], [1, 2]]), "f.pt", ("labels of f.pt", "got a list")),
    "labels of one word": (lambda: pt(labels="cat"), "f.pt", ("labels of f.pt", "got a str")),
    "labels above int64": (lambda: npz(labels=Y.astype(np.uint64) + 2**63), "f.npz", ("below 2^53",)),
    "labels above every integer": (lambda: npz(labels=Y + 1e300), "f.npz", ("below 2^53", "1e+300")),
    "bytes that are no UTF-8": (lambda: npz(labels=np.array([b"\xfe", b"\xff", b"a"])[Y]), "f.npz", ("UTF-8",)),
    "names that look the same": (
        lambda: npz(labels=np.array(["cat", "cat ", "dog"])[Y]), "f.npz", ("more than blanks", "'cat' and 'cat '")
    ),
    "index saved by pandas": (
        lambda: pd.DataFrame(X, columns=list("abcde")).assign(label=Y).to_csv("f.csv"), "f.csv", ("column 1 has none",)
    ),
    "a cell more than names": (text("f.csv", "a,label\n1,2,x\n3,4,y\n"), "f.csv", ("2 cells", "got 3")),
    "a name twice": (text("f.csv", "a,a,label\n1,2,x\n"), "f.csv", ("`a` comes again",)),
    "quotes never closed": (text("f.csv", 'a,label\n1,"x\n2,y\n'), "f.csv", ("f.csv",)),
    "fractions as labels of a table": (text("f.csv", "a,label\n1,0.5\n2,1\n"), "f.csv", ("whole numbers", "0.5")),
    "no label at the end of a line": (text("f.csv", "a,b,label\n1,2,x\n3\n"), "f.csv", ("1 of column `label`",)),
    "a blank line among labels": (with_lines("a\n\n"), "f.npy labels=l.txt", ("one label for each of the 2 rows",)),
    "a label column without a table": (npz, "f.npz label_column=kind", ("`label_column` only with a .parquet",)),
    "results in a file": (lambda: (npz(), text("o", "")()), "f.npz out=o", ("`out` to be a folder", "is a file")),
    "results below a file": (lambda: (npz(), text("o", "")()), "f.npz out=o/p", ("`out` to be a folder", "is a file")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_strange_file_is_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, settings, expected = FAULTS[fault]
    make()
    assert main(["measure", *f"features={settings}".split()]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semscale: Expected"), printed.err
    assert printed.err.count("\n") == 1
    assert all(part in printed.err for part in expected), printed.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("what", ["features", "out"])
def test_what_may_not_be_read_or_written(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    npz()
    forbidden = os.R_OK if what == "features" else os.W_OK
    monkeypatch.setattr("os.access", lambda _, mode: not mode & forbidden)  # root may do everything
    assert main(["measure", "features=f.npz"]) == 2
    line = capsys.readouterr().err
    assert f"`{what}`" in line
    assert "does not allow it" in line


def test_words_that_mean_missing_elsewhere_are_classes(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,label\n1,NA\n2,None\n3, cat\nNA,NA\n")
    source = open_features(path)
    assert source.class_names == ("NA", "None", "cat")
    assert np.isnan(next(source.rows(np.arange(4), 4))[3, 0])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["1.0", "0.0"], ("0", "1")),
        (["10", "9"], ("9", "10")),
        (["010", "10"], ("010", "10")),
        (["1_0", "10"], ("10", "1_0")),
        (["9" * 30, "x"], ("9" * 30, "x")),
    ],
)
def test_labels_read_as_text(words: list[str], names: tuple[str, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", X[:2])
    (tmp_path / "l.txt").write_text("\n".join(words))
    assert open_features(tmp_path / "f.npy", tmp_path / "l.txt").class_names == names


def test_labels_in_bfloat16(tmp_path: Path) -> None:
    torch.save({"features": torch.tensor(X), "labels": torch.tensor(Y).bfloat16()}, tmp_path / "f.pt")
    assert np.array_equal(open_features(tmp_path / "f.pt").labels, Y)
