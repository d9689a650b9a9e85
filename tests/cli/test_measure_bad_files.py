"""`semscale measure` answers every file it cannot use by exit code 2 and one line, and leaves no results."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from semscale_pl.cli.main import main

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
Y = np.arange(60) % 3
Make = Callable[[], object]


class Payload:
    """What a hostile file would hold: unpickling it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("unpickled", "w")


def objects(value: object) -> np.ndarray:
    array = np.empty(60, object)
    array[:] = value
    return array


def with_values(*values: float) -> np.ndarray:
    changed = X.copy()
    for row, value in enumerate(values):
        changed[7 * row + 3, 2] = value
    return changed


def npz(features: object = X, **arrays: object) -> None:
    np.savez("f.npz", features=features, **(arrays or {"labels": Y}))  # type: ignore[arg-type]


def npy(features: np.ndarray = X, labels: np.ndarray | None = Y) -> None:
    np.save("f.npy", features)
    if labels is not None:
        np.save("l.npy", labels)


def pt(content: object) -> None:
    torch.save(content, "f.pt")


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(X, columns=list("abcde")).assign(**(columns or {"label": Y}))


def csv(**columns: object) -> None:
    frame(**columns).to_csv("f.csv", index=False)


def parquet(**columns: object) -> None:
    frame(**columns).to_parquet("f.parquet")


def cut(name: str, make: Make, share: float = 0.6) -> Make:
    def made() -> None:
        make()
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(share * len(content))])

    return made


def text(name: str, content: str | bytes) -> Make:
    return lambda: Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


# How the file is made, the settings, and what the line has to contain.
FAULTS: dict[str, tuple[Make, str, tuple[str, ...]]] = {
    "missing file": (lambda: None, "features=f.npz", ("`features` to be a file", "f.npz")),
    "missing labels file": (npy, "features=f.npy labels=no.npy", ("`labels` to be a file", "no.npy")),
    "a folder": (lambda: Path("d.npz").mkdir(), "features=d.npz", ("`features` to hold files", "d.npz")),
    "unknown ending": (text("f.mat", "x"), "features=f.mat", ("end in .npy, .npz, .pt, .safetensors", "f.mat")),
    "pickle by name": (text("f.pkl", pickle.dumps(Payload())), "features=f.pkl", ("to end in", "f.pkl")),
    "unknown ending of labels": (lambda: (npy(), text("l.xls", "x")()), "features=f.npy labels=l.xls", ("`labels`",)),
    "empty npz": (text("f.npz", ""), "features=f.npz", ("f.npz is empty",)),
    "empty csv": (text("f.csv", ""), "features=f.csv", ("f.csv is empty",)),
    "blank csv": (text("f.csv", "\n\n"), "features=f.csv", ("f.csv", "empty")),
    "no labels in npz": (lambda: npz(more=X), "features=f.npz", ("Expected labels for f.npz", "labels=FILE")),
    "no labels beside npy": (npy, "features=f.npy", ("Expected labels for f.npy", "labels=FILE")),
    "no features in npz": (lambda: np.savez("f.npz", a=X, b=X, labels=Y), "features=f.npz", ("`features`", "a, b")),
    "no features in pt": (lambda: pt({"labels": torch.tensor(Y)}), "features=f.pt", ("`features`", "found labels")),
    "one dimension": (lambda: npz(X[:, 0]), "features=f.npz", ("(samples, features)", "(60,)")),
    "three dimensions": (lambda: npz(X[:, None]), "features=f.npz", ("(samples, features)", "(60, 1, 5)")),
    "no sample": (lambda: npz(X[:0], labels=Y[:0]), "features=f.npz", ("at least one", "f.npz")),
    "no feature": (lambda: npz(X[:, :0]), "features=f.npz", ("at least one sample and one feature", "(60, 0)")),
    "no class at all": (lambda: npy(labels=Y[:0]), "features=f.npy labels=l.npy", ("at least one label", "none")),
    "no line in csv": (text("f.csv", "a,b,label\n"), "features=f.csv", ("at least one sample in f.csv",)),
    "too few labels": (lambda: npz(labels=Y[:50]), "features=f.npz", ("each of the 60 rows", "50 labels")),
    "one-hot labels": (lambda: npz(labels=np.eye(3)[Y]), "features=f.npz", ("shape (samples,)", "argmax")),
    "negative label": (lambda: npz(labels=Y - 1), "features=f.npz", ("at least 0", "-1 for 20 samples")),
    "fractional label": (lambda: npz(labels=Y + 0.5), "features=f.npz", ("whole numbers or words", "0.5")),
    "label that is NaN": (lambda: npz(labels=np.where(Y, Y, np.nan)), "features=f.npz", ("a class for every", "20")),
    "empty word as label": (lambda: npz(labels=np.array(["a", "b", ""])[Y]), "features=f.npz", ("20 empty ones",)),
    "complex labels": (lambda: npz(labels=Y + 1j), "features=f.npz", ("whole numbers or words", "complex")),
    "NaN": (lambda: npz(with_values(np.nan)), "features=f.npz", ("f.npz to be finite", "NaN in 1")),
    "infinities": (
        lambda: npz(with_values(np.inf, -np.inf, np.nan)),
        "features=f.npz",
        ("NaN in 1 and infinities in 2 of 60 rows", "first is row 3"),
    ),
    "NaN in csv": (lambda: csv(label=Y, b=with_values(np.nan)[:, 2]), "features=f.csv", ("finite", "NaN in 1")),
    "NaN in parquet": (lambda: parquet(label=Y, b=with_values(np.nan)[:, 2]), "features=f.parquet", ("finite",)),
    "NaN in pt": (
        lambda: pt({"features": torch.from_numpy(with_values(np.nan, np.nan)), "labels": torch.tensor(Y)}),
        "features=f.pt",
        ("finite", "NaN in 2"),
    ),
    "complex features": (lambda: npz(X + 1j), "features=f.npz", ("to be numbers", "complex")),
    "words as features": (lambda: npz(X.astype(str)), "features=f.npz", ("to be numbers", "<U")),
    "object array": (lambda: npz(objects(Payload())), "features=f.npz", ("Python objects", "run code")),
    "object labels": (lambda: npz(labels=objects(Payload())), "features=f.npz", ("Python objects", "run code")),
    "object npy": (lambda: npy(objects(Payload())), "features=f.npy labels=l.npy", ("Python objects", "run code")),
    "pickle in pt": (lambda: pt({"features": Payload()}), "features=f.pt", ("pickled objects", "run code")),
    "pickle as npy": (text("f.npy", pickle.dumps(Payload())), "features=f.npy", ("numpy's format", "np.save")),
    "a module in pt": (lambda: pt(torch.nn.Linear(2, 2)), "features=f.pt", ("pickled objects",)),
    "a list in pt": (lambda: pt([1, 2]), "features=f.pt", ("a tensor or a dict", "got a list")),
    "features no tensor": (lambda: pt({"features": [1.0], "labels": [0]}), "features=f.pt", ("tensor", "got a list")),
    "truncated npy": (cut("f.npy", npy), "features=f.npy labels=l.npy", ("f.npy", "cut off")),
    "truncated header": (cut("f.npy", npy, 0.05), "features=f.npy labels=l.npy", ("f.npy", "header")),
    "truncated labels": (cut("l.npy", npy), "features=f.npy labels=l.npy", ("60 values in l.npy", "cut off")),
    "truncated npz": (cut("f.npz", npz), "features=f.npz", ("f.npz", "damaged")),
    "truncated pt": (cut("f.pt", lambda: pt({"features": torch.tensor(X)})), "features=f.pt", ("f.pt",)),
    "truncated parquet": (cut("f.parquet", parquet), "features=f.parquet", ("Parquet", "damaged")),
    "truncated csv": (cut("f.csv", csv), "features=f.csv", ("a class for every sample", "1 of column")),
    "text as npz": (text("f.npz", "hello"), "features=f.npz", ("np.savez", "no archive")),
    "text as parquet": (text("f.parquet", "hello"), "features=f.parquet", ("Parquet",)),
    "csv not in UTF-8": (text("f.csv", "a,label\n1,\xe9\n".encode("latin-1")), "features=f.csv", ("UTF-8",)),
    "ragged csv": (text("f.csv", "a,label\n1,x\n1,2,3\n"), "features=f.csv", ("line 3", "saw 3")),
    "no label column": (lambda: csv(kind=Y), "features=f.csv", ("column `label`", "label_column=NAME")),
    "wrong column of csv": (csv, "features=f.csv label_column=nope", ("column `nope`", "a, b, c")),
    "wrong column of parquet": (parquet, "features=f.parquet label_column=nope", ("column `nope`", "a, b, c")),
    "words in a csv column": (lambda: csv(label=Y, f="red"), "features=f.csv", ("row 1", "column `f`", "'red'")),
    "words in a parquet column": (lambda: parquet(label=Y, f="red"), "features=f.parquet", ("`f` is", "string")),
    "empty label in csv": (lambda: csv(label=np.where(Y, Y, np.nan)), "features=f.csv", ("20 of column `label`",)),
    "lists of two lengths": (
        lambda: pd.DataFrame({"x": [[1.0, 2.0], [1.0]], "label": [0, 1]}).to_parquet("f.parquet"),
        "features=f.parquet",
        ("2 features in every row", "other lengths"),
    ),
    "too little memory": (npz, "features=f.npz max_memory=1MB", ("max_memory",)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, settings, expected = FAULTS[fault]
    make()
    assert main(["measure", *settings.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    line = printed.err
    assert line.startswith("semscale: Expected"), line
    assert line.count("\n") == 1
    assert all(part in line for part in expected), line
    assert not Path("runs").exists()
    assert not Path("unpickled").exists()
