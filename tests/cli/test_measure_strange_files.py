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
    "a feature without numbers": (
        lambda: npz(np.where(np.arange(5) == 3, np.nan, X)), "f.npz", ("NaN in 60", "in feature 4 of 5: leave that out")
    ),
    "labels above int64": (lambda: npz(labels=Y.astype(np.uint64) + 2**63), "f.npz", ("below 2^63",)),
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
    "fractions as labels": (lambda: npz(labels=Y / 2), "f.npz", ("whole numbers", "0.5")),
    "labels that float32 merges": (
        lambda: npz(labels=(2**24 + Y).astype(np.float32)), "f.npz", ("below 2^24", "apart in float32")
    ),
    "labels that float16 merges": (
        lambda: pt(labels=torch.tensor(2048 + Y).half()), "f.pt", ("below 2^11", "got 2050", "apart in float16")
    ),
    "labels that bfloat16 merges": (
        lambda: pt(labels=torch.tensor(256 + Y).bfloat16()), "f.pt", ("below 2^8", "apart in bfloat16")
    ),
    "labels that wrapped around": (lambda: npz(labels=(126 + Y).astype(np.int8)), "f.npz", ("-128", "wider type")),
    "a negative number as text": (text("f.csv", "a,label\n1,-1\n2,1\n"), "f.csv", ("at least 0", "-1 for 1")),
    "no label at the end of a line": (text("f.csv", "a,b,label\n1,2,x\n3\n"), "f.csv", ("1 of column `label`",)),
    "a blank line among labels": (with_lines("a\n\n"), "f.npy labels=l.txt", ("one label for each of the 2 rows",)),
    "a label column of a lone array": (
        lambda: np.save("f.npy", X), "f.npy label_column=kind", ("`label_column` only with a .npz, .pt", "f.npy")
    ),
    "no such array of labels": (npz, "f.npz label_column=kind", ("`kind` in f.npz", "label_column=")),
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


WORDS = {
    "numbers": (["10", "9"], ("9", "10")),
    "zeros before them": (["010", "001"], ("001", "010")),
    "one with a zero before it": (["010", "10"], ("010", "10")),
    "underscores": (["1_0", "1_1"], ("1_0", "1_1")),
    "exponents": (["1e1", "12e5"], ("12e5", "1e1")),
    "points": (["1.1", "1.0"], ("1.0", "1.1")),
    "signs": (["+1", "2"], ("+1", "2")),
    "long identifiers": (["9" * 30, "8" * 30], ("8" * 30, "9" * 30)),
    "other digits": (["\u0663", "1"], ("1", "\u0663")),
    "truth": (["True", "False"], ("False", "True")),
    "infinity": (["inf", "1"], ("1", "inf")),
    "a word among numbers": (["x", "10"], ("10", "x")),
}


@pytest.mark.parametrize("kind", ["txt", "csv", "npz", "pt", "parquet"])
@pytest.mark.parametrize("words", WORDS)
def test_labels_that_are_text_stay_as_they_stand(words: str, kind: str, tmp_path: Path) -> None:
    labels, names = WORDS[words]
    file = tmp_path / f"f.{kind}"
    if kind == "txt":
        np.save(tmp_path / "f.npy", X[:2])
        file.write_text("\n".join(labels), encoding="utf-8")
        source = open_features(tmp_path / "f.npy", file)
    else:
        if kind == "npz":
            np.savez(file, features=X[:2], labels=labels)
        elif kind == "pt":
            torch.save({"features": torch.tensor(X[:2]), "labels": labels}, file)
        elif kind == "csv":
            file.write_text(f"a,label\n1.5,{labels[0]}\n2.5,{labels[1]}\n", encoding="utf-8")
        else:
            pd.DataFrame({"a": [1.5, 2.5], "label": labels}).to_parquet(file)
        source = open_features(file)
    assert source.class_names == names
    assert [source.class_names[label] for label in source.labels] == labels


def test_labels_in_bfloat16(tmp_path: Path) -> None:
    torch.save({"features": torch.tensor(X), "labels": torch.tensor(Y).bfloat16()}, tmp_path / "f.pt")
    assert np.array_equal(open_features(tmp_path / "f.pt").labels, Y)
