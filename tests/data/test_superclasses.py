"""CIFAR-100's superclasses: from files of the same make, from the real ones, and no code from a pickle."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.data.vision import cifar100_superclasses


def write(root: Path, meta: Any, test: Any) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(exist_ok=True)
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    (folder / "test").write_bytes(pickle.dumps(test, protocol=2))


META = {"coarse_label_names": ["animals", "things"], "fine_label_names": ["cat", "cup", "dog"]}


def test_reads_names_and_parents(tmp_path: Path) -> None:
    write(tmp_path, META, {"fine_labels": [2, 0, 1, 0], "coarse_labels": [0, 0, 1, 0], "data": [[0, 1]]})
    parents, names = cifar100_superclasses(tmp_path)
    assert (parents.tolist(), names) == ([0, 1, 0], ["animals", "things"])


@pytest.mark.parametrize(
    ("meta", "test", "match"),
    [
        (META, {"fine_labels": [0, 0], "coarse_labels": [0, 1]}, "one superclass"),
        (META, {"fine_labels": [0, 2], "coarse_labels": [0, 1]}, "one superclass"),
        (META, {"fine_labels": [0]}, "labels"),
        ({}, {"fine_labels": [0], "coarse_labels": [0]}, "labels"),
        ([], {}, "dictionary"),
        (os.system, {}, "no place"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(meta: Any, test: Any, match: str, tmp_path: Path) -> None:
    write(tmp_path, meta, test)
    with pytest.raises(DataError, match=match) as caught:
        cifar100_superclasses(tmp_path)
    assert "\n" not in str(caught.value)


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match="CIFAR-100"):
        cifar100_superclasses(tmp_path)


def test_real_files() -> None:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not (Path(root) / "cifar-100-python" / "meta").is_file():
        pytest.skip("SEMSCALE_DATA does not lead to CIFAR-100")
    parents, names = cifar100_superclasses(Path(root))
    assert np.bincount(parents.numpy()).tolist() == [5] * 20
    assert names[int(parents[0])] == "fruit_and_vegetables"  # apple
