from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semscale_pl.data.list_twin import ListTwin

LISTS = {"train": "lists/train.txt", "val": None, "test": "lists/test.txt"}
SIZES = {"train": [8, 2], "test": [2, 2]}


def twin(**changes: object) -> ListTwin:
    return ListTwin("images", LISTS, **{"classes": 3, "sizes": SIZES, "side": 8, **changes})  # type: ignore[arg-type]


def test_makes_a_long_tail_in_the_layout_of_lists(tmp_path: Path) -> None:
    source = twin(class_names_file="lists/names.txt")
    source.prepare(tmp_path, False)
    train, test = source.load("train", tmp_path, 0), source.load("test", tmp_path, 0)
    assert train is not None
    assert test is not None
    assert train.class_counts.tolist() == [8, 4, 2]
    assert test.class_counts.tolist() == [2, 2, 2]
    assert train.class_names == ["class 0", "class 1", "class 2"]
    assert source.load("val", tmp_path, 0) is None
    assert len((tmp_path / "lists/train.txt").read_text().splitlines()) == 14
    assert np.asarray(Image.open(next((tmp_path / "images/train/n00000002").iterdir()))).shape == (8, 8, 3)


def test_a_second_twin_is_the_same_and_splits_differ(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        twin().prepare(tmp_path / folder, False)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 14 + 6 + 2
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    pictures = [(tmp_path / f"a/images/{s}/n00000000/{s}_00000.png").read_bytes() for s in ("train", "test")]
    assert pictures[0] != pictures[1]


def test_takes_up_what_was_broken_off(tmp_path: Path) -> None:
    twin().prepare(tmp_path, False)
    lost = tmp_path / "images/train/n00000001/train_00003.png"
    kept = tmp_path / "images/train/n00000001/train_00002.png"
    before = lost.read_bytes()
    lost.unlink()
    kept.write_bytes(b"mine")
    (tmp_path / "lists/train.txt").unlink()
    twin().prepare(tmp_path, False)
    assert lost.read_bytes() == before
    assert kept.read_bytes() == b"mine"


def test_refuses_sizes_that_do_not_fit_the_lists() -> None:
    with pytest.raises(ValueError, match="Expected `sizes` to name the splits"):
        twin(sizes={"train": [8, 2]})
