"""Shards as one file, parts by a column, names of classes; and what is wrong with them in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather
from safetensors.numpy import save_file

from semscale_pl.cli.main import main
from semscale_pl.features.feature_files import found_files
from semscale_pl.features.opening import open_features, open_rows
from semscale_pl.features.row_names import names_of_rows
from semscale_pl.features.shards import JoinedRows

ROWS = 60
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
Y = np.arange(ROWS) % 3
WORDS = np.array(["cat", "dog", "emu"])
SPLIT = np.array(["train", "Validation", "test", "train"])[np.arange(ROWS) % 4]
Make = Callable[[], object]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s").mkdir()


def all_rows(source: Any, size: int = 7) -> np.ndarray:
    """Read all rows; the next piece may overwrite one."""
    count = source.num_rows if hasattr(source, "num_rows") else source.shape[0]
    return np.concatenate([piece.copy() for piece in source.rows(np.arange(count), size)])


def npz(name: str, rows: slice = slice(None), **changed: Any) -> None:
    np.savez(name, **{"features": X[rows], "labels": Y[rows], **changed})


def two(**changed: Any) -> Make:
    return lambda: (npz("s/a.npz", slice(0, 30)), npz("s/b.npz", slice(30, 60), **changed))


def frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame(X, columns=["f0", "f1", "f2", "f3"]).assign(label=WORDS[Y], **more)


def described(name: str, names: list[str], rows: slice = slice(None)) -> None:
    metadata = {"class_names": json.dumps(names)}
    save_file({"features": np.ascontiguousarray(X[rows]), "labels": Y[rows].copy()}, name, metadata)


def test_shards_come_in_the_order_of_their_numbers() -> None:
    for number in (10, 9, 1):
        np.save(f"s/part-{number}.npy", X[number : number + 1])
        np.save(f"part-{number}.label.npy", Y[number : number + 1])
    assert [file.name for file in found_files("s")] == ["part-1.npy", "part-9.npy", "part-10.npy"]
    source = open_features("s", "part-*.label.npy")
    np.testing.assert_array_equal(next(source.rows(np.array([2]), 9)), X[10:11])
    assert source.labels.tolist() == [1, 0, 1]
    assert (source.name, source.class_names) == ("s", ("0", "1"))
    assert source.taken is not None
    assert "3 shards, part-1.npy to part-10.npy" in source.taken.line()


def test_mapped_shards_give_rows_in_any_order_and_in_the_widest_type() -> None:
    np.save("s/a.npy", X[:20].astype(np.float16))
    np.save("s/b.npy", X[20:])
    rows = open_rows("s")
    assert isinstance(rows, JoinedRows)
    assert rows.by_rows
    wanted = np.array([59, 3, 20, 19, 3])
    expected = np.concatenate([X[:20].astype(np.float16).astype(np.float32), X[20:]])
    np.testing.assert_array_equal(rows.take(wanted), expected[wanted])
    np.testing.assert_array_equal(all_rows(rows), expected)


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "npz"])
def test_the_rows_of_a_part(ending: str) -> None:
    paths = np.array([f"{row}.png" for row in range(ROWS)])
    table, file = frame(fold=SPLIT), Path(f"all.{ending}")
    match ending:
        case "csv":
            table.assign(path=paths).to_csv(file, index=False)
        case "parquet":
            table.assign(path=paths).to_parquet(file)
        case "feather":
            feather.write_feather(table.assign(path=paths), file)
        case _:
            np.savez(file, features=X, labels=WORDS[Y], fold=SPLIT, path=paths)
    of_table = {} if ending == "npz" else {"feature_columns": "f0..f3"}
    for part, word in (("train", "train"), ("val", "Validation"), ("test", "test")):
        source = open_features(file, split_key="fold", part=part, **of_table)  # type: ignore[arg-type]
        places = np.flatnonzero(np.equal(SPLIT, word))
        np.testing.assert_allclose(all_rows(source), X[places], rtol=1e-6)
        assert [source.class_names[label] for label in source.labels] == WORDS[Y[places]].tolist()
        named = names_of_rows(file, [1], places=source.matrix.places)  # type: ignore[attr-defined]
        assert named == {1: f"{places[1]}.png"}
    assert source.taken is not None
    assert "15 rows of test by fold" in source.taken.line()


def test_names_of_rows_in_shards() -> None:
    for start in (0, 30):
        frame(path=[f"{row}.png" for row in range(ROWS)]).iloc[start : start + 30].to_parquet(f"s/{start}.parquet")
    assert names_of_rows(Path("s"), [1, 45]) == {1: "1.png", 45: "45.png"}


def test_names_of_classes_from_a_file_the_call_or_the_file_itself() -> None:
    npz("f.npz")
    Path("c.txt").write_text("cat\ndog\nemu\nfox\n", encoding="utf-8")
    Path("c.json").write_text('["cat", "dog", "emu", "fox"]')
    npz("own.npz", class_names=np.array(["cat", "dog", "emu", "fox"]))
    given: list[tuple[str, Any]] = [
        ("f.npz", "c.txt"), ("f.npz", Path("c.json")), ("own.npz", None), ("f.npz", ["cat", "dog", "emu", "fox"])
    ]  # fmt: skip
    for file, names in given:
        source = open_features(file, class_names=names)
        assert source.class_names == ("cat", "dog", "emu", "fox")
        assert source.counts.tolist() == [20, 20, 20, 0]
    frame().to_csv("w.csv", index=False)
    assert open_features("w.csv", class_names=["emu", "dog", "cat"]).labels[:3].tolist() == [2, 1, 0]


def test_labels_that_are_numbers_are_read_in_the_one_way_that_fits() -> None:
    names = ["1", "2", "3"]
    for labels, words in ((Y, WORDS.searchsorted(WORDS)), (Y + 1, np.arange(3))):
        npz("f.npz", labels=labels)
        frame().assign(label=labels).to_csv("f.csv", index=False)
        for file in ("f.npz", "f.csv"):
            source = open_features(file, class_names=names)
            assert source.class_names == ("1", "2", "3")
            np.testing.assert_array_equal(source.labels, words[Y])
    npz("own.npz", labels=Y % 2 + 1, class_names=np.array(names))  # which the file counts, whatever they are called
    np.testing.assert_array_equal(open_features("own.npz").labels, Y % 2 + 1)


def test_classes_of_hugging_face_in_arrow() -> None:
    feature = {"_type": "ClassLabel", "names": ["emu", "dog", "cat"]}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    table = pa.table({"x": list(X), "label": Y}).replace_schema_metadata(metadata)
    feather.write_feather(table, "f.arrow")
    assert open_features("f.arrow").class_names == ("emu", "dog", "cat")


def test_groups_of_hdf5_and_names_in_attributes() -> None:
    h5py = pytest.importorskip("h5py", reason="pip install 'semscale-pl[hdf5]'")
    with h5py.File("f.h5", "w") as file:
        for group, rows in (("train", slice(0, 40)), ("test", slice(40, 60))):
            file[f"{group}/features"], file[f"{group}/labels"] = X[rows], Y[rows]
            file[f"{group}/labels"].attrs["class_names"] = WORDS.tolist()
    with pytest.raises(ValueError, match="feature_key=test/features"):
        open_features("f.h5")
    for key in ("test/features", "test"):
        source = open_features("f.h5", feature_key=key)
        np.testing.assert_array_equal(all_rows(source), X[40:])
        assert source.class_names == ("cat", "dog", "emu")
        assert source.labels.tolist() == Y[40:].tolist()


def cut(name: str, by: int = 100) -> None:
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[:-by])


def tensors(**changed: Any) -> Make:
    return lambda: save_file({"features": X, "labels": Y, **changed}, "f.safetensors")


def hdf5(write: Callable[[Any], object]) -> Make:
    def make() -> None:
        h5py = pytest.importorskip("h5py", reason="pip install 'semscale-pl[hdf5]'")
        with h5py.File("f.h5", "w") as file:
            write(file)

    return make


FAULTS: dict[str, tuple[Make, str, tuple[str, ...]]] = {
    "an empty folder": (lambda: None, "s", ("folder 's' has none",)),
    "shards one folder deeper": (
        lambda: (Path("s/train").mkdir(), npz("s/train/a.npz")), "s", ("Name one of its folders, such as s/train",)
    ),
    "a pattern that fits nothing": (lambda: None, "s/*.npz", ("none fits 's/*.npz'",)),
    "a pattern that fits folders": (lambda: Path("s/t.npz").mkdir(), "s/*", ("'s/t.npz' is a folder",)),
    "a pattern with other files": (
        lambda: (two()(), Path("s/readme.md").write_text("x")), "s/*", ("got 'readme.md'",)
    ),
    "two formats": (
        lambda: (npz("s/a.npz"), np.save("s/b.npy", X)), "s", ("a.npz", "b.npy", "features=s/*.np")
    ),
    "an empty shard": (lambda: (npz("s/a.npz"), Path("s/b.npz").touch()), "s", ("b.npz is empty",)),
    "a shard without samples": (two(features=X[:0], labels=Y[:0]), "s", ("at least one sample", "b.npz")),
    "a shard that is a copy": (
        lambda: (npz("s/a.npz"), shutil.copy("s/a.npz", "s/b.npz")), "s", ("b.npz is a copy of a.npz",)
    ),
    "a shard that is a link": (
        lambda: (npz("s/a.npz"), Path("s/b.npz").symlink_to("a.npz")), "s", ("b.npz is a copy of a.npz",)
    ),
    "shards of two widths": (two(features=X[30:, :3]), "s", ("4 features in b.npz, as in a.npz, but got 3",)),
    "words in one shard": (two(labels=WORDS[Y[30:]]), "s", ("b.npz has words and a.npz has numbers",)),
    "shards with other names of arrays": (
        lambda: (two()(), np.savez("s/b.npz", embeddings=X[30:], labels=Y[30:])), "s", ("under the same names",)
    ),
    "one shard without labels": (
        lambda: (two()(), np.savez("s/b.npz", features=X[30:])), "s", ("Expected labels in b.npz, as in a.npz",)
    ),
    "other orders of classes": (
        lambda: (
            described("s/a.safetensors", ["a", "b", "c"], slice(0, 30)),
            described("s/b.safetensors", ["b", "a", "c"], slice(30, 60)),
        ),
        "s", ("b.safetensors to name the classes as a.safetensors does, a, b, c, but got b, a, c",),
    ),
    "NaN in a shard": (two(features=np.full((30, 4), np.nan)), "s", ("finite", "30 ")),
    "a shard that is cut off": (lambda: (two()(), cut("s/b.npz")), "s", ("b.npz", "damaged")),
    "fewer files of labels": (
        lambda: (
            [np.save(f"s/{n}.npy", X[n : n + 2]) for n in range(3)], [np.save(f"l{n}.npy", Y[:2]) for n in range(2)]
        ),
        "s labels=l*.npy", ("labels for each of the 3 shards", "got 2"),
    ),
    "a file of labels that is too long": (
        lambda: (
            [np.save(f"s/{n}.npy", X[n : n + 2]) for n in range(2)], np.save("l0.npy", Y[:3]), np.save("l1.npy", Y[:1])
        ),
        "s labels=l*.npy", ("each of the 2 rows of 0.npy, but l0.npy has 3",),
    ),
    "a part without a column": (lambda: npz("f.npz"), "f.npz part=test", ("`part` only with an embedding store",)),
    "a column without a part": (
        lambda: npz("f.npz", fold=SPLIT), "f.npz split_key=fold", ("part=train, val or test",)
    ),
    "a column of parts that is not there": (
        lambda: npz("f.npz"), "f.npz split_key=fold part=test", ("`fold` in f.npz", "split_key=NAME")
    ),
    "a column of parts that is too short": (
        lambda: npz("f.npz", labels=Y[:40], fold=SPLIT[:40]), "f.npz split_key=fold part=train",
        ("each of the 60 rows", "got shape (40,)"),
    ),
    "no row of a part": (
        lambda: frame(fold="train").to_csv("f.csv", index=False), "f.csv split_key=fold part=val",
        ("rows of 'val' in `fold`", "train (60 rows)"),
    ),
    "a part of a lone matrix": (lambda: np.save("f.npy", X), "f.npy split_key=a part=val", ("`split_key` only",)),
    "two names of the label": (lambda: npz("f.npz"), "f.npz label_key=labels label_column=labels", ("got both",)),
    "no file of names": (lambda: npz("f.npz"), "f.npz class_names=c.txt", ("`class_names` to be a file",)),
    "too few names": (
        lambda: npz("f.npz"), "f.npz class_names=cat,dog", ("among 2 classes", "0..1", "got 2 in row 2 (20 such rows")
    ),
    "names that are no labels": (
        lambda: frame().to_csv("f.csv", index=False), "f.csv class_names=cat,cow", ("got 'dog' in row 1",)
    ),
    "names that are numbers and may be places": (
        lambda: npz("f.npz", labels=Y % 2 + 1), "f.npz class_names=1,2,3", ("'1' may be the class", "'2'. Leave"),
    ),
    "a name twice": (lambda: npz("f.npz"), "f.npz class_names=cat,cat,dog", ("'cat' comes twice",)),
    "an empty name": (
        lambda: (npz("f.npz"), Path("c.txt").write_text("cat\n\ndog\n")), "f.npz class_names=c.txt", ("for class 1",)
    ),
    "names that are no list": (
        lambda: (npz("f.npz"), Path("c.json").write_text("{}")), "f.npz class_names=c.json", ("a list of the classes'",)
    ),
    "names of a damaged file": (
        lambda: (npz("f.npz"), Path("c.json").write_text("[")), "f.npz class_names=c.json", ("to be JSON",)
    ),
    "a key with others in the file": (
        tensors(), "f.safetensors feature_key=z", ("`z` in f.safetensors", "found features. Name")
    ),
    "safetensors that are cut off": (
        lambda: (tensors()(), cut("f.safetensors")), "f.safetensors", ("cut off", "copy or save it again")
    ),
    "no safetensors": (
        lambda: Path("f.safetensors").write_bytes(b"PK\3\4 something else"), "f.safetensors", ("header cannot be read",)
    ),
    "a tensor of three dimensions": (
        tensors(features=X[:, :, None]), "f.safetensors", ("(60, 4, 1)", "Flatten each sample")
    ),
    "a tensor that is empty": (tensors(features=X[:0]), "f.safetensors", ("at least one sample",)),
    "fewer labels than tensors": (tensors(labels=Y[:59]), "f.safetensors", ("60 rows, but got 59",)),
    "labels below zero": (tensors(labels=Y - 1), "f.safetensors", ("at least 0", "-1 for 20")),
    "NaN in a tensor": (tensors(features=np.full_like(X, np.nan)), "f.safetensors", ("finite",)),
    "names in metadata that are no list": (
        lambda: save_file({"features": X, "labels": Y}, "f.safetensors", {"class_names": "cat,dog"}), "f.safetensors",
        ("`class_names` in the metadata", "JSON list"),
    ),
    "Arrow that is cut off": (
        lambda: (feather.write_feather(frame(), "f.feather"), cut("f.feather", 600)), "f.feather", ("cut off",)
    ),
    "no Arrow": (lambda: Path("f.feather").write_bytes(b"x" * 99), "f.feather", ("a file of Arrow",)),
    "Feather of version 1": (
        lambda: Path("f.feather").write_bytes(b"FEA1" + b"x" * 99), "f.feather", ("of version 1",)
    ),
    "an identifier in Feather": (
        lambda: feather.write_feather(frame(id=range(ROWS)), "f.feather"), "f.feather",
        ("`id` is named like an index", "feature_columns=f0..f3"),
    ),
    "a column that numbers the samples in Feather": (
        lambda: feather.write_feather(frame().assign(f1=range(ROWS)), "f.feather"), "f.feather",
        ("`f1` numbers the samples", "feature_columns=f0,f2,f3"),
    ),
    "a column of parts that is counted": (
        lambda: feather.write_feather(frame(split=SPLIT), "f.feather"), "f.feather", ("`split` is", "feature_columns=")
    ),
    "lists of other lengths in Feather": (
        lambda: feather.write_feather(pa.table({"x": [[1.0, 2.0], [1.0]] * 30, "label": Y}), "f.feather"), "f.feather",
        ("rows of other lengths",),
    ),
    "a class that is missing in Feather": (
        lambda: feather.write_feather(frame().assign(label=[None, *WORDS[Y[1:]]]), "f.feather"), "f.feather",
        ("1 of `label` are missing",),
    ),
    "no HDF5": (hdf5(lambda file: None), "f.h5", ("features under the name `features` in f.h5, but found nothing",)),
    "HDF5 that is cut off": (
        lambda: (hdf5(lambda file: file.update({"features": X, "labels": Y}))(), cut("f.h5")), "f.h5", ("cut off",)
    ),
    "words as features in HDF5": (
        hdf5(lambda file: file.update({"features": [["a"], ["b"]], "labels": [0, 1]})), "f.h5", ("to be numbers",)
    ),
    "complex numbers in HDF5": (
        hdf5(lambda file: file.update({"features": X.astype(complex), "labels": Y})), "f.h5",
        ("to be numbers", "complex128"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_one_line(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, settings, expected = FAULTS[fault]
    make()
    assert main(["measure", *f"features={settings}".split()]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semscale: Expected"), printed.err
    assert printed.err.count("\n") == 1
    assert all(part in printed.err for part in expected), printed.err
    assert not Path("runs").exists()


def test_one_line_where_h5py_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("f.h5").write_bytes(b"x")
    monkeypatch.setattr("semscale_pl.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'h5py for f\.h5, but it is not installed.*"semscale-pl\[hdf5\]"'):
        open_features("f.h5")


@pytest.mark.parametrize("command", ["measure", "advise"])
def test_shards_are_measured_as_one_file(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    npz("whole.npz")
    two()()
    more = ["report=false", "figures=false"] if command == "measure" else ["batch=3", "threshold=0.1"]
    result = "scales.csv" if command == "measure" else "advice.csv"
    assert main([command, "features=whole.npz", "out=one", *more]) == 0
    assert main([command, "features=s/*.npz", "out=two", *more]) == 0
    assert Path("one", result).read_text() == Path("two", result).read_text()
    assert "2 shards, a.npz to b.npz" in capfd.readouterr().out
    assert main([command, "features=s", *more]) == 0
    assert next(Path("runs", command).iterdir()).name.startswith("s-")
