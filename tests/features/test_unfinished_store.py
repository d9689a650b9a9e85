"""Stores in the making: a killed process loses one chunk at most, and shards make the same bytes as one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.cli.main import main
from semscale_pl.features import unfinished_store
from semscale_pl.features.store import CHUNKS, MANIFEST, EmbeddingStore, StoreError
from semscale_pl.features.unfinished_store import Chunk, PartRows, UnfinishedStore

NAMES = ["a", "b"]
# Makes the chunks that are missing, slowly where it is asked for, and says after each which one it made.
PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_unfinished_store as t
t.unfinished_store.ROWS = 10
store = t.begun(Path(sys.argv[1]))
for chunk in store.missing(store.chunks(["train", "test"])):
    time.sleep(float(sys.argv[2]))
    store.save(chunk, t.features_of(chunk))
    print(chunk.file, flush=True)
store.finish()
"""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished_store, "ROWS", 10)


def rows(count: int, views: int = 0) -> PartRows:
    return PartRows(np.arange(count) % 2, np.arange(count), tuple(f"{row}.png" for row in range(count)), views)


def begun(folder: Path, parts: Sequence[str] = ("train", "test"), key: str = "k") -> UnfinishedStore:
    every = {"train": rows(45, views=1), "test": rows(25)}
    wanted = {name: every[name] for name in parts}
    about = {"model": {"name": key}, "versions": {}}
    return UnfinishedStore.begin(folder, key=key, dtype="float32", class_names=NAMES, parts=wanted, about=about)


def features_of(chunk: Chunk) -> np.ndarray:
    """Return what a network would make of the rows of a chunk, which depends on nothing else."""
    return np.arange(chunk.start, chunk.stop)[:, None] * [1.0, 0.5, 0.25] + 100 * chunk.copy + len(chunk.part)


def made(store: UnfinishedStore, shard: tuple[int, int] = (1, 1), parts: Sequence[str] = ("train", "test")) -> int:
    missing = store.missing(store.chunks(parts, shard))
    for chunk in missing:
        store.save(chunk, features_of(chunk))
    return len(missing)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of a store that one process made."""
    store = begun(tmp_path / "whole")
    assert made(store) == 5 + 5 + 3
    assert store.finish() is not None
    return content(tmp_path / "whole")


def test_a_store_holds_what_was_saved(tmp_path: Path, whole: dict[str, bytes]) -> None:
    train = EmbeddingStore.open(tmp_path / "whole").part("train")
    np.testing.assert_array_equal(train.features, np.arange(45)[:, None] * [1.0, 0.5, 0.25] + 5)
    np.testing.assert_array_equal(train.views[0], train.features + 100)
    assert CHUNKS not in whole
    assert made(begun(tmp_path / "whole")) == 0


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_make_the_same_bytes_whatever_their_order(
    tmp_path: Path, whole: dict[str, bytes], order: Sequence[int]
) -> None:
    counts = []
    for shard in order:
        assert begun(tmp_path / "shards").finish() is None
        counts.append(made(begun(tmp_path / "shards"), (shard, 3)))
    assert sorted(counts) == [4, 4, 5]
    assert main(["embed", f"merge={tmp_path / 'shards'}"]) == 0
    assert content(tmp_path / "shards") == whole


def test_a_part_is_added_later(tmp_path: Path, whole: dict[str, bytes]) -> None:
    made(begun(tmp_path / "later", ["train"]), parts=["train"])
    assert begun(tmp_path / "later", ["train"]).finish() is not None
    assert EmbeddingStore.open(tmp_path / "later").parts == ("train",)
    store = begun(tmp_path / "later")
    assert EmbeddingStore.open(tmp_path / "later").parts == ("train",)  # of use meanwhile
    assert made(store) == 3
    store.finish()
    assert content(tmp_path / "later") == whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_process_goes_on_after_its_last_chunk(
    tmp_path: Path, whole: dict[str, bytes], number: signal.Signals
) -> None:
    program = [sys.executable, "-c", PROGRAM.format(tests=str(Path(__file__).parent)), str(tmp_path / "killed")]
    with subprocess.Popen([*program, "0.05"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = [process.stdout.readline().strip() for _ in range(4)]
        os.kill(process.pid, number)
        later = process.stdout.read().split()
    assert process.returncode == -number
    kept = [*first, *later]
    assert 4 <= len(kept) < 13
    assert not (tmp_path / "killed" / MANIFEST).exists()
    with pytest.raises(StoreError, match="unfinished"):
        EmbeddingStore.open(tmp_path / "killed")
    again = subprocess.run([*program, "0"], capture_output=True, text=True, check=True, timeout=60)
    assert 13 - len(kept) - 1 <= len(again.stdout.split()) <= 13 - len(kept)
    assert not set(kept) & set(again.stdout.split())
    assert content(tmp_path / "killed") == whole


def test_another_store_in_the_folder_is_left_alone(tmp_path: Path, whole: dict[str, bytes]) -> None:
    with pytest.raises(StoreError, match=r"it holds one of other settings \(model\)"):
        begun(tmp_path / "whole", key="other")
    begun(tmp_path / "begun")
    with pytest.raises(StoreError, match=r"it holds one of other settings \(model\)"):
        begun(tmp_path / "begun", key="other")
    assert content(tmp_path / "whole") == whole


def test_a_damaged_chunk_or_plan_is_named(tmp_path: Path) -> None:
    store = begun(tmp_path)
    made(store)
    path = tmp_path / CHUNKS / "train.view1.000000020.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StoreError, match=r"train\.view1\.000000020\.npy to be whole, but it is damaged"):
        store.finish()
    np.save(path, np.zeros((10, 2), np.float32))
    with pytest.raises(StoreError, match=r"to hold \(10, 3\) features, but got \(10, 2\)"):
        store.finish()
    (tmp_path / CHUNKS / "plan.json").write_text("{")
    with pytest.raises(StoreError, match=r"plan\.json, but it is damaged"):
        begun(tmp_path)


def test_features_that_are_not_finite_name_their_row(tmp_path: Path) -> None:
    store = begun(tmp_path)
    chunk = Chunk("train", 1, 10, 20)
    bad = features_of(chunk)
    bad[3, 1] = np.nan
    with pytest.raises(StoreError, match=r"train\.view1\.npy, but got NaN or infinity in row 13"):
        store.save(chunk, bad)
    assert store.missing([chunk]) == [chunk]


@pytest.mark.usefixtures("whole")
def test_there_is_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="but it is none"):
        UnfinishedStore.open(tmp_path)
    with pytest.raises(StoreError, match="a whole store, with nothing left to merge"):
        UnfinishedStore.open(tmp_path / "whole")


def test_what_another_call_has_planned_meanwhile_stays(tmp_path: Path, whole: dict[str, bytes]) -> None:
    first = begun(tmp_path / "both", ["train"])
    made(first, parts=["train"])
    second = begun(tmp_path / "both", ["test"])
    kept = second.chunks(["test"])[:2]
    for chunk in kept:
        second.save(chunk, features_of(chunk))
    store = first.finish(needed=["train"])
    assert store is not None
    assert store.parts == ("train",)
    assert [chunk for chunk in second.chunks(["test"]) if chunk not in second.missing([chunk])] == kept
    assert made(second, parts=["test"]) == 1
    assert second.finish(needed=["test"]) is not None
    assert first.finish() is not None  # which is no error once another one has joined everything
    assert content(tmp_path / "both") == whole


def test_a_call_that_was_killed_while_it_removed_chunks_makes_none_again(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    place = tmp_path / "killed"
    made(begun(place))
    plan = (place / CHUNKS / "plan.json").read_text()
    begun(place).finish()
    (place / CHUNKS).mkdir()
    (place / CHUNKS / "plan.json").write_text(plan)
    store = begun(place)
    assert made(store) == 0
    assert store.finish() is not None
    assert content(place) == whole
