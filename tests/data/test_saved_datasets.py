"""Saved datasets of Hugging Face: splits, columns and what is refused; the package itself is an extra."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from packed_data import COUNTS, as_saved, rows_of, square

from semscale_pl.config.checks import check_train, composed
from semscale_pl.config.composing import composed_from
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.saved_datasets import SavedDatasets
from semscale_pl.data.source import DataError, DatasetNotFound

installed = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the extra hf is not installed")
HIDDEN = (
    "import sys; sys.modules['datasets'] = None; from semscale_pl.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@installed
def test_splits_are_named(tmp_path: Path) -> None:
    as_saved(tmp_path)
    with pytest.raises(
        DatasetNotFound, match=r"split `all` in .*, but got test, train\. Name one in dataset\.source\.train"
    ):
        SavedDatasets("saved", train="all").prepare(tmp_path, False)
    with pytest.raises(DatasetNotFound, match=r"that `save_to_disk` of a dataset wrote at .*nowhere"):
        SavedDatasets("nowhere").prepare(tmp_path, False)
    with pytest.raises(DatasetNotFound, match=r"one dataset without splits; dataset\.source\.train_fraction=0\.8"):
        SavedDatasets("saved/train").prepare(tmp_path, False)
    alone = SavedDatasets("saved/train", train_fraction=0.5)
    parts = [alone.load(split, tmp_path, 0) for split in COUNTS]
    assert [part.class_counts.tolist() for part in parts if part is not None] == [[2, 2, 2], [2, 2, 2]]


@installed
def test_columns_are_named(tmp_path: Path) -> None:
    as_saved(tmp_path)
    with pytest.raises(DataError, match=r"column `y` in .*train, but got image, label\."):
        SavedDatasets("saved", label_column="y").prepare(tmp_path, False)
    with pytest.raises(DataError, match=r"column `label` of .* to hold images, but got ClassLabel"):
        SavedDatasets("saved", image_column="label").prepare(tmp_path, False)


@installed
def test_images_may_be_files_of_their_own_or_plain_bytes(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "a.png").write_bytes(square("train", 0))
    content = {"image": [{"bytes": None, "path": str(tmp_path / "a.png")}, None], "label": ["cat", "dog"]}
    plain = {"image": [square("train", 0), None], "label": ["cat", "dog"]}
    kinds = {"files": (content, datasets.Image()), "bytes": (plain, datasets.Value("binary"))}
    for name, (columns, kind) in kinds.items():
        features = datasets.Features({"image": kind, "label": datasets.Value("string")})
        datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / name)
        images = SavedDatasets(name, train_fraction=0.5).open("train", tmp_path)
        assert images.paths[0].pack.read(0) == rows_of("train")[0][0]
        with pytest.raises(ValueError, match="the row has no bytes"):
            images.paths[1].pack.read(1)


@pytest.mark.parametrize("name", ["hf", "hf_lt"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    said = 'Expected the package datasets for dataset=hf, but it is not installed. Run: pip install "semscale-pl[hf]"'
    cfg = composed_from("train", [f"dataset={name}", "backbone=resnet20"])
    with pytest.raises(WrongCallError, match=re.escape(said)):
        check_train(cfg)
    with pytest.raises(WrongCallError, match=re.escape(said)):
        composed([f"dataset={name}"])
    with pytest.raises(ValueError, match=re.escape(said)):
        SavedDatasets()
