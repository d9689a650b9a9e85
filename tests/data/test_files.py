"""Folders of images and list files, on small images written here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.files import Folder, ImageFiles
from semscale_pl.data.lists import Lists, read_list
from semscale_pl.data.source import DatasetNotFound


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (value, value, value)).save(path)


def class_folders(folder: Path, sizes: dict[str, int]) -> None:
    for number, (name, size) in enumerate(sizes.items()):
        for image in range(size):
            write(folder / name / f"{image}.png", 10 * number + image)


def test_folder_with_official_splits(tmp_path: Path) -> None:
    class_folders(tmp_path / "mine/train", {"cat": 6, "dog": 4})
    class_folders(tmp_path / "mine/test", {"cat": 2, "dog": 1})
    data = ImbalancedDataModule(Folder("mine"), root=str(tmp_path), image_size=8, batch_size=4)
    data.prepare_data()
    data.setup()
    assert (data.class_names, data.class_counts.tolist(), data.has_validation) == (["cat", "dog"], [6, 4], False)
    images, labels, indices = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 8, 8)
    for image, label, index in zip(images, labels, indices, strict=True):
        expected = 10 * int(label) + (int(index) - 6 * int(label))
        torch.testing.assert_close(image, torch.full_like(image, expected / 255), rtol=0, atol=1e-6)
    class_folders(tmp_path / "mine/val", {"cat": 1, "dog": 1})
    images = Folder("mine").load("val", tmp_path, 0)
    assert images is not None
    assert len(images.labels) == 2
    assert Folder("mine", val=None).load("val", tmp_path, 0) is None


def test_folder_split_by_us(tmp_path: Path) -> None:
    class_folders(tmp_path / "scenes", {"a": 6, "b": 4})
    parts = [Folder("scenes", 0.5).load(split, tmp_path, 1) for split in ("train", "test")]
    paths = []
    for part in parts:
        assert part is not None
        assert part.class_counts.tolist() == [3, 2]
        assert isinstance(part.images, ImageFiles)
        paths += part.images.paths
    assert len(set(paths)) == 10
    assert Folder("scenes", 0.5).load("val", tmp_path, 1) is None


def test_missing_folders_lists_and_images(tmp_path: Path) -> None:
    for source in (Folder("nowhere"), Folder("nowhere", 0.5), Lists("nowhere", {"train": "a.txt", "test": "b.txt"})):
        with pytest.raises(DatasetNotFound, match="its owner") as caught:
            source.prepare(tmp_path, True)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetNotFound, match=r"lost.png"):
        ImageFiles([tmp_path / "lost.png"])[0]


def test_the_three_forms_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("train/a b.png 1\nc.png 0\n")
    entry = {"image_id": 0, "im_height": 1, "im_width": 1}
    annotations = [{**entry, "fpath": "train/a b.png", "category_id": 1}, {**entry, "fpath": "c.png", "category_id": 0}]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": annotations, "num_classes": 2}))
    (tmp_path / "a.csv").write_text("label,filename\n['1'],train/a b.png\n0,c.png\n")
    expected = [("train/a b.png", "1"), ("c.png", "0")]
    assert all(read_list(tmp_path / f"a.{form}") == expected for form in ("txt", "json", "csv"))
    (tmp_path / "bad.txt").write_text("only-a-path\n")
    for path, options in [("bad.txt", {}), ("a.xml", {}), ("a.csv", {"label_column": "class"})]:
        with pytest.raises(ValueError, match="Expected"):
            read_list(tmp_path / path, **options)


def test_lists_as_a_dataset(tmp_path: Path) -> None:
    for value in range(11):
        write(tmp_path / f"images/{value}.png", value)
    (tmp_path / "train.txt").write_text("".join(f"{value}.png {value}\n" for value in range(10)))
    (tmp_path / "test.txt").write_text("10.png 11\n")
    lists = Lists("images", {"train": "train.txt", "val": None, "test": "test.txt"})
    train, test = lists.load("train", tmp_path, 0), lists.load("test", tmp_path, 0)
    assert train is not None
    assert test is not None
    # In numerical order, not "1", "11", "2"; also those seen in the test list alone, and no class without a line.
    assert train.class_names == test.class_names == [*"0123456789", "11"]
    assert train.labels.tolist() == list(range(10))
    assert test.labels.tolist() == [10]
    assert train.images[7].getpixel((0, 0)) == (7, 7, 7)
    assert lists.load("val", tmp_path, 0) is None
    (tmp_path / "names.txt").write_text("".join(f"n{number} the {number}\n" for number in range(12)))
    named = Lists("images", {"train": "train.txt", "test": "test.txt"}, class_names_file="names.txt")
    images = named.load("train", tmp_path, 0)
    assert images is not None
    assert images.class_names[11] == "the 11"


def test_pooled_csv_lists(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "one.csv").write_text("filename,label\n" + "".join(f"{i}.png,N\n" for i in range(6)))
    (tmp_path / "two.csv").write_text("filename,label\n" + "".join(f"x{i}.png,D\n" for i in range(4)))
    lists = Lists("images", {"all": ["one.csv", "two.csv"]}, class_names=["N", "D"])
    train, test = lists.load("train", tmp_path, 0), lists.load("test", tmp_path, 0)
    assert train is not None
    assert test is not None
    assert train.class_counts.tolist() == test.class_counts.tolist() == [3, 2]
    with pytest.raises(ValueError, match="among 1 classes"):
        Lists("images", {"all": "one.csv"}, class_names=["D"]).load("train", tmp_path, 0)
    with pytest.raises(ValueError, match="lists"):
        Lists("images", {"train": "one.csv"})
