"""Which columns become features: no index, identifier, flag or label, unless it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from semscale_pl.cli.main import main
from semscale_pl.features.columns import Watch, named_columns, numbered_alike, shown, spelled
from semscale_pl.features.opening import open_features

ROWS = 30
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
LABELS = np.array(["a", "b", "c"])[np.arange(ROWS) % 3]
NUMBERED = [f"f{number}" for number in range(4)]
NAMED = ["length", "width", "height", "age"]


def frame(names: list[str] = NUMBERED, **first: Any) -> pd.DataFrame:
    """Return the columns given, those of the features, and the labels."""
    return pd.concat([pd.DataFrame(first), pd.DataFrame(X, columns=names)], axis=1).assign(label=LABELS)


def saved(table: pd.DataFrame, kind: str) -> Path:
    path = Path(f"t.{kind}")
    if kind == "parquet":
        table.to_parquet(path, row_group_size=7)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NO_FEATURES: dict[str, Any] = {
    "Unnamed: 0": range(ROWS),
    "id": np.arange(ROWS)[::-1],
    "index": range(ROWS),
    "sample_id": np.random.default_rng(1).integers(0, 10**6, ROWS),
    "imageId": np.arange(ROWS) * 7 % 11,
    "is_train": np.arange(ROWS) < 20,
    "marked": np.arange(ROWS) % 2 == 0,
    "fold": np.arange(ROWS) % 5,
    "cv_split": np.arange(ROWS) % 2,
    "constant": [1.5] * ROWS,
    "nr": range(7, 7 + ROWS),
    "shuffled": np.random.default_rng(2).permutation(ROWS),
    "grows": np.arange(ROWS) ** 2,
    "timestamp": 1.6e9 + X[:, 0].astype(float),
    "target": np.arange(ROWS) % 3,
    "Class": np.arange(ROWS) % 3,
    "filename": [f"images/{number}.png" for number in range(ROWS)],
    "taken on": pd.date_range("2020-01-01", periods=ROWS).astype(str),
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("names", [NUMBERED, NAMED], ids=["numbered", "named"])
@pytest.mark.parametrize("column", NO_FEATURES)
def test_what_is_no_feature_is_refused_with_a_cure_that_works(column: str, names: list[str], kind: str) -> None:
    # The other one is left out by the same cure.
    file = saved(frame(names, **{column: NO_FEATURES[column], "uuid": range(ROWS)}), kind)
    with pytest.raises(ValueError, match="Expected") as raised:
        open_features(file)
    line = str(raised.value)
    assert f"`{column}`" in line
    assert "\n" not in line
    cure = line.partition("feature_columns=")[2].split()[0].rstrip(".,")
    source = open_features(file, feature_columns=cure.strip("'"))
    assert source.num_features == 4
    assert source.taken is not None
    assert source.taken.left_out == (column, "uuid")
    np.testing.assert_allclose(np.concatenate([*source.rows(np.arange(ROWS), ROWS)]), X, rtol=1e-6)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_dead_unit_among_numbered_columns_is_a_feature(kind: str) -> None:
    source = open_features(saved(frame().assign(f1=0.0), kind))
    assert source.num_features == 4
    assert open_features(saved(frame(NAMED, x=X[:, 0], y=X[:, 1]), kind)).num_features == 6
    flags = pd.DataFrame(X > 0, columns=NAMED).assign(label=LABELS)
    assert open_features(saved(flags, kind)).num_features == 4


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_index_that_was_numbered_with_the_features_is_seen(kind: str) -> None:
    table = pd.DataFrame(np.c_[np.arange(ROWS), X], columns=list("01234")).assign(label=LABELS)
    with pytest.raises(ValueError, match=r"`0` numbers the samples\. Leave it out with feature_columns=1\.\.4"):
        open_features(saved(table, kind))


INDICES: dict[str, tuple[Callable[[], pd.DataFrame], tuple[str, ...]]] = {
    "a range": (frame, ()),
    "a range with a name": (lambda: frame().rename_axis("sample"), ()),
    "numbers with a name": (lambda: frame().set_index(pd.Index([*range(29), 99], name="n")), ("n (index of pandas)",)),
    "numbers without a name": (
        lambda: frame().sample(frac=1, random_state=0), ("__index_level_0__ (index of pandas)",)
    ),
    "words": (
        lambda: frame().set_index(pd.Index([f"s{row}" for row in range(ROWS)], name="k")), ("k (index of pandas)",)
    ),
    "times": (
        lambda: frame().set_index(pd.date_range("2020", periods=ROWS, name="t")), ("t (index of pandas)",)
    ),
    "two levels": (
        lambda: frame(run=[1] * ROWS, step=range(ROWS)).set_index(["run", "step"]),
        ("run (index of pandas)", "step (index of pandas)"),
    ),
    "the labels": (lambda: frame().set_index("label"), ()),
}  # fmt: skip


@pytest.mark.parametrize("index", INDICES)
def test_an_index_of_pandas_is_left_out_and_said(index: str) -> None:
    make, left_out = INDICES[index]
    table = make()
    source = open_features(saved(table, "parquet"))
    assert source.num_features == 4
    assert source.taken is not None
    assert (source.taken.columns, source.taken.label_column) == ("f0 ... f3 (4 columns)", "label")
    assert source.taken.left_out == left_out
    np.testing.assert_array_equal(np.concatenate([*source.rows(np.arange(ROWS), ROWS)]), table[NUMBERED])


def test_an_index_that_is_named_is_a_feature() -> None:
    file = saved(frame(n=np.arange(ROWS) ** 2).set_index("n"), "parquet")
    assert open_features(file, feature_columns="f*,n").num_features == 5
    assert open_features(file, feature_columns="*").num_features == 4


@pytest.mark.parametrize("command", ["measure", "advise"])
def test_what_was_taken_is_printed_and_recorded(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(ROWS, 64)), columns=[f"f{n}" for n in range(64)])
    saved(table.assign(id=range(ROWS), label=LABELS), "csv")
    more = ["report=false", "figures=false"] if command == "measure" else ["batch=3", "threshold=0.1"]
    assert main([command, "features=t.csv", "out=out", *more]) == 2
    assert "feature_columns=f0..f63" in capsys.readouterr().err
    assert main([command, "features=t.csv", "feature_columns=f0..f63", "label_column=label", "out=out", *more]) == 0
    assert "\nFeatures: f0 ... f63 (64 columns); classes: label; left out: id\n" in f"\n{capsys.readouterr().out}"
    record = json.loads(Path("out", "scales.json" if command == "measure" else "advice.json").read_text())
    taken = record["source"]["taken"] if command == "measure" else record["taken"]
    assert taken == {
        "columns": "f0 ... f63 (64 columns)",
        "feature_columns": "f0..f63",
        "label_column": "label",
        "left_out": ["id"],
        "files": "",
        "part": "",
    }


def test_names_globs_and_ranges() -> None:
    there = ["id", "f0", "f1", "f10", "f2", "size", "age", "label"]
    for wanted, expected in {
        "f2,f0": ["f0", "f2"],
        "f*": ["f0", "f1", "f10", "f2"],
        "f1..f10": ["f1", "f10", "f2"],
        "size..age": ["size", "age"],
        "f?,age": ["f0", "f1", "f2", "age"],
        "*": there[:-1],
    }.items():
        assert named_columns(there, wanted.split(","), "t.csv", "label") == expected
        assert named_columns(there, spelled(expected, there).strip("'").split(","), "t.csv", "label") == expected
    for wrong in ("g*", "f0..z", "", "label"):
        with pytest.raises(ValueError, match="Expected `feature_columns`"):
            named_columns(there, [wrong], "t.csv", "label")


def test_columns_in_a_few_words() -> None:
    assert shown([*(f"f{n}" for n in range(512)), "age"]) == "f0 ... f511, age (513 columns)"
    assert shown(list("abcdefgh")) == "a, b, c ... h (8 columns)"
    assert spelled(["a,b", "it's"], ["a,b", "it's"]) == "'a?b,it'\"'\"'s'"
    assert shown([f"unit_{n}_mean" for n in range(9)]) == "unit_0_mean ... unit_8_mean (9 columns)"
    assert numbered_alike(["0_x", "1_x", "y"]) == {"0_x", "1_x"}
    assert numbered_alike(["fold0", "fold1", "fold2", "a"]) == frozenset()


def test_values_are_watched_in_pieces() -> None:
    rows = np.c_[np.arange(60.0), np.full(60, 3.0), np.arange(60)[::-1], np.random.default_rng(0).normal(size=60)]
    names = ["rising", "same", "falling", "free"]
    for size in (1, 7, 60):
        watch = Watch(names, names)
        for start in range(0, 60, size):
            watch.see(rows[start : start + size])
        assert watch.reasons() == {
            "rising": "numbers the samples",
            "same": "has one value in all samples",
            "falling": "numbers the samples",
        }
    # Whole numbers with the range and the mean of a count, but not each of them once.
    watch = Watch(["few", "free"], ["few", "free"])
    watch.see(np.c_[[0.0, 4, 2, 2, 2], rows[:5, 3]])
    assert watch.reasons() == {}
    watch = Watch(names, names)
    watch.see(np.where(np.arange(60)[:, None] == 3, [np.nan, np.inf, -np.inf, 0], rows))
    assert watch.reasons() == {}
