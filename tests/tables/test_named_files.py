"""Files and stores that a cell names: their content, not their place, is part of its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semscale_pl.features.store import StorePart, write_store
from semscale_pl.tables import cache
from semscale_pl.tables.named_files import FILES, contents
from semscale_pl.tables.schema import Table, parse_table


def table(*overrides: str) -> Table:
    row = {"name": "CE", "overrides": ["dataset=features_lt", *overrides]}
    measure = {"name": "top1", "key": "results.last.top1"}
    return parse_table({"name": "heads", "rows": [row], "seeds": [0], "measures": [measure]})


def key(*overrides: str) -> str:
    made = table(*overrides)
    return cache.locate(made, made.cells(), Path("root"))[0].folder.name


def store(folder: Path, scale: float) -> Path:
    part = StorePart.of(scale * np.eye(3), [0, 1, 1])
    write_store(folder, {"train": part, "test": part}, ["a", "b"])
    return folder


def test_another_store_of_the_same_name_is_another_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for place, scale in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / place))
        store(tmp_path / place / "embeddings" / "birds", scale)
        found.append(key("dataset.store=birds"))
    assert found[0] == found[1] != found[2]


def test_a_changed_file_is_another_cell(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.npz" for name in ("train", "test")}
    overrides = [f"dataset.{name}={file}" for name, file in files.items()]
    for file in files.values():
        np.savez(file, features=np.eye(2), labels=[0, 1])
    before = key(*overrides)
    assert key(*overrides) == before
    np.savez(files["test"], features=2 * np.eye(2), labels=[0, 1])
    assert key(*overrides) != before


def test_a_changed_shard_is_another_cell(tmp_path: Path) -> None:
    for place in ("train", "test"):
        (tmp_path / place).mkdir()
        for number in range(2):
            np.savez(tmp_path / place / f"{number}.npz", features=np.eye(2) + number, labels=[0, 1])
    overrides = [f"dataset.train={tmp_path}/train", f"dataset.test={tmp_path}/test/*.npz"]
    keys = [key(*overrides)]
    assert key(*overrides) == keys[0]
    np.savez(tmp_path / "test" / "1.npz", features=5 * np.eye(2), labels=[0, 1])
    keys.append(key(*overrides))
    np.savez(tmp_path / "train" / "2.npz", features=3 * np.eye(2), labels=[0, 1])
    keys.append(key(*overrides))
    assert len(set(keys)) == 3


@pytest.mark.parametrize("name", FILES)
def test_every_named_file_counts(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    group, _, option = name.partition(".")
    config: dict[str, Any] = {group: {option: str(file)}}
    assert contents(config) == {}
    found = []
    for text in ("one", "other"):
        file.write_text(text)
        found.append(contents(config)[name])
    assert found[0] != found[1]


def test_what_is_no_file_is_left_out() -> None:
    assert contents({"backbone": {"weights": "laion2b"}, "dataset": {"store": "nowhere", "train": None}}) == {}
