"""Embedding stores: what goes in comes out, mapped, and a damaged one is refused by the name of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.features.store import MANIFEST, EmbeddingStore, StoreError, StorePart, is_store, write_store

NAMES = ["ant", "bee", "cat"]


def part(rows: int, width: int = 5, views: int = 0, seed: int = 0) -> StorePart:
    draws = np.random.default_rng(seed)
    labels = np.arange(rows) % len(NAMES)
    copies = [draws.standard_normal((rows, width)) for _ in range(1 + views)]
    paths = [f"{NAMES[label]}/{row}.png" for row, label in enumerate(labels)]
    return StorePart.of(copies[0], labels, np.arange(rows)[::-1], paths, copies[1:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", {"test": part(7, seed=1), "train": part(12, views=2)}, NAMES)
    return tmp_path / "store"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_goes_in_comes_out_mapped(tmp_path: Path, dtype: str) -> None:
    given = part(12, views=2)
    written = write_store(tmp_path / "a", {"train": given}, NAMES, dtype=dtype, about={"model": {"name": "m"}})
    store = EmbeddingStore.open(tmp_path / "a")
    assert store.key == written.key
    assert (store.parts, store.class_names, store.num_features) == (("train",), tuple(NAMES), 5)
    assert store.manifest["model"] == {"name": "m"}
    found = store.part("train")
    assert isinstance(found.features, np.memmap)
    for got, want in zip((found.features, *found.views), (given.features, *given.views), strict=True):
        np.testing.assert_array_equal(got, want.astype(dtype))
    np.testing.assert_array_equal(found.labels, given.labels)
    np.testing.assert_array_equal(found.index, np.arange(12)[::-1])
    assert found.paths == given.paths
    assert is_store(tmp_path / "a")
    assert not is_store(tmp_path)


def test_parts_come_in_the_order_train_val_test_and_others_are_refused(folder: Path) -> None:
    store = EmbeddingStore.open(folder)
    assert store.parts == ("train", "test")
    with pytest.raises(StoreError, match=r"to have 'val', but it has train, test\."):
        store.part("val")


def test_other_content_has_another_key(tmp_path: Path) -> None:
    keys = {
        write_store(tmp_path / str(number), {"train": each}, names).key
        for number, (each, names) in enumerate(
            [(part(6), NAMES), (part(6, seed=2), NAMES), (part(6), NAMES[::-1]), (part(6, views=1), NAMES)]
        )
    }
    assert len(keys) == 4
    assert write_store(tmp_path / "again", {"train": part(6)}, NAMES).key in keys


def cut(folder: Path) -> None:
    path = folder / "test.npy"
    path.write_bytes(path.read_bytes()[:-4])


def remove(folder: Path) -> None:
    (folder / "train.view2.npy").unlink()


def spoil(folder: Path) -> None:
    features = np.load(folder / "train.npy", mmap_mode="r+")
    features[3, 1] = np.nan
    features.flush()


def reorder(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["class_names"] = manifest["class_names"][::-1]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def age(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"version": 1', '"version": 7'))


def widen(folder: Path) -> None:
    np.save(folder / "test.npy", np.zeros((7, 6), np.float32))


def relabel(folder: Path) -> None:
    np.save(folder / "train.labels.npy", np.zeros(12, np.int64))


def shorten_labels(folder: Path) -> None:
    np.save(folder / "train.labels.npy", np.zeros(11, np.int64))


def drop_paths(folder: Path) -> None:
    (folder / "train.paths.txt").write_text("one\n")


def break_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


def begin_only(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / "chunks").mkdir()


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (cut, r"test\.npy to hold 140 bytes of features, but got 136\. The file is cut off"),
    (remove, r"train\.view2\.npy beside its manifest\.json, but it is missing"),
    (spoil, r"train\.npy, but row 3 holds NaN or infinity"),
    (reorder, r"in another order than train\.labels\.npy counts them"),
    (relabel, r"in another order than train\.labels\.npy counts them, or one of the two was changed"),
    (shorten_labels, r"train\.labels\.npy to hold 12 whole numbers, but got int64 of shape \(11,\)"),
    (age, r"Expected version 1 of the embedding store, but .*manifest\.json has 7"),
    (widen, r"test\.npy to hold float32 features of shape \(7, 5\), but got float32 of shape \(7, 6\)"),
    (drop_paths, r"train\.paths\.txt to name 12 files, but it has 1 lines"),
    (break_manifest, r"manifest\.json to be JSON, but it is damaged"),
    (begin_only, r"but it is unfinished\. Call the same `semscale embed` again"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_a_damaged_store_is_refused_by_name(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(StoreError, match=message):
        EmbeddingStore.open(folder)


def test_classes_in_another_order_than_wanted_are_refused(folder: Path) -> None:
    assert EmbeddingStore.open(folder, NAMES).class_names == tuple(NAMES)
    with pytest.raises(StoreError, match="has them in another order"):
        EmbeddingStore.open(folder, NAMES[::-1])
    with pytest.raises(StoreError, match="has others"):
        EmbeddingStore.open(folder, ["x", "y"])


def test_a_folder_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has no manifest\.json"):
        EmbeddingStore.open(tmp_path)


def test_nothing_unusable_is_written(tmp_path: Path) -> None:
    large, bad = part(6), part(6)
    large.features[2, 0] = 1e5
    bad.features[4, 0] = np.inf
    with pytest.raises(StoreError, match=r"in row 2\. It is too large for float16: use dtype=float32"):
        write_store(tmp_path / "a", {"train": large}, NAMES, dtype="float16")
    with pytest.raises(StoreError, match=r"train\.npy, but got NaN or infinity in row 4"):
        write_store(tmp_path / "a", {"train": bad}, NAMES)
    with pytest.raises(StoreError, match=r"class numbers in 0\.\.1"):
        write_store(tmp_path / "a", {"train": part(6)}, NAMES[:2])
    with pytest.raises(StoreError, match="Expected parts of train, val, test, but got other"):
        write_store(tmp_path / "a", {"other": part(6)}, NAMES)
    with pytest.raises(StoreError, match=r"width, but got \[4, 5\]"):
        write_store(tmp_path / "a", {"train": part(6), "test": part(6, 4)}, NAMES)
    assert not (tmp_path / "a" / MANIFEST).exists()
    write_store(tmp_path / "a", {"train": part(6)}, NAMES)
    with pytest.raises(StoreError, match="Expected no store in"):
        write_store(tmp_path / "a", {"train": part(6)}, NAMES)
