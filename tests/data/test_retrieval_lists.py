"""Retrieval benchmarks by their official lists: each layout read from a twin made on the spot, or refused in a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image
from scipy.io import savemat

from semscale_pl.data.retrieval_lists import RetrievalLists
from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.data.verification import verify

CONF = Path(__file__).parents[2] / "conf"
# Class (from 1 on) of each of the twin's cars.
CARS = [1, 1, 2, 2, 3, 3, 4, 4, 4]


def picture(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 10 + number, dtype=np.uint8)).save(path)


def annotations(path: Path, names: list[str], classes: list[int], image_field: str) -> None:
    """Write a list as the authors' MATLAB files hold it: a struct array with a box, the class and the image."""
    fields = (
        ["bbox_x1", "class", "test", image_field]
        if image_field == "relative_im_path"
        else ["bbox_x1", "class", image_field]
    )
    rows = np.empty((1, len(names)), dtype=[(field, object) for field in fields])
    for place, (name, label) in enumerate(zip(names, classes, strict=True)):
        rows[0, place] = tuple({"bbox_x1": 1, "class": label, "test": 0, image_field: name}[field] for field in fields)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": rows})


def one_list(folder: Path) -> None:
    names = [f"car_ims/{place + 1:06}.jpg" for place in range(len(CARS))]
    for place, name in enumerate(names):
        picture(folder / name, place)
    annotations(folder / "cars_annos.mat", names, CARS, "relative_im_path")


def devkit(folder: Path, beside: bool = False) -> None:
    for part, rows in (("train", slice(0, None, 2)), ("test", slice(1, None, 2))):
        classes = CARS[rows]
        names = [f"{place + 1:05}.jpg" for place in range(len(classes))]
        for place, name in enumerate(names):
            picture(folder / f"cars_{part}" / name, place)
        file = "cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        annotations(folder / ("" if beside and part == "test" else "devkit") / file, names, classes, "fname")


def class_folders(folder: Path) -> None:
    names = {
        1: "AM General Hummer SUV 2000",
        2: "Acura RL Sedan 2012",
        3: "FIAT 500 Abarth 2012",
        4: "Ferrari FF Coupe 2012",
    }
    for place, label in enumerate(CARS):
        picture(folder / ("train", "test")[place % 2] / names[label] / f"{place:05}.jpg", place)


def data_of(name: str, root: Path, *overrides: str) -> Any:
    small = [f"dataset={name}", f"dataset.root={root}", "dataset.image_size=8", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose("train", overrides=small).dataset)


@pytest.mark.parametrize("layout", [one_list, devkit, lambda folder: devkit(folder, beside=True), class_folders])
def test_every_layout_of_cars(layout: Callable[[Path], None], tmp_path: Path) -> None:
    layout(tmp_path / "cars196")
    data = data_of("cars196", tmp_path, "dataset.num_classes=4", "dataset.train_classes=2")
    data.setup()
    assert data.class_counts.tolist() == [2, 2]
    assert data.test_class_names == ["1", "2", "3", "4"]
    assert torch.bincount(data.test_dataset.labels).tolist() == [0, 0, 2, 3]
    assert data.gallery_dataset is None
    assert data.gallery_dataloader() is None
    assert next(iter(data.test_dataloader()))[0].shape == (5, 3, 8, 8)
    assert verify(data).problems == []


def test_a_long_tail_of_cars(tmp_path: Path) -> None:
    one_list(tmp_path / "cars196")
    data = data_of("cars196_lt", tmp_path, "dataset.num_classes=4", "dataset.train_classes=3", "imbalance_factor=2")
    data.setup()
    # n_i = 2 * 2^(-i/2)
    assert data.class_counts.tolist() == [2, 1, 1]


def products(folder: Path) -> None:
    header = "image_id class_id super_class_id path\n"
    lists = {"Ebay_train.txt": [9, 9, 10], "Ebay_test.txt": [11, 11, 2, 2, 2]}
    for file, classes in lists.items():
        lines = []
        for place, label in enumerate(classes):
            name = f"bicycle_final/{label}_{place}.JPG"
            picture(folder / name.replace(".JPG", ".jpg"), place)
            (folder / name.replace(".JPG", ".jpg")).rename(folder / name)
            lines.append(f"{place + 1} {label} 1 {name}\n")
        (folder / file).write_text(header + "".join(lines))


def test_products_have_their_training_classes_first(tmp_path: Path) -> None:
    products(tmp_path / "Stanford_Online_Products")
    data = data_of("stanford_online_products", tmp_path, "dataset.num_classes=4", "dataset.train_classes=2")
    data.setup()
    assert data.test_class_names == ["9", "10", "2", "11"]
    assert data.class_counts.tolist() == [2, 1]
    assert torch.bincount(data.test_dataset.labels).tolist() == [0, 0, 3, 2]
    assert verify(data).problems == []


def test_a_wrong_number_of_training_classes_is_refused(tmp_path: Path) -> None:
    products(tmp_path / "Stanford_Online_Products")
    for wrong in ("dataset.train_classes=3", "dataset.split_order=permuted"):
        data = data_of(
            "stanford_online_products",
            tmp_path,
            "dataset.num_classes=4",
            "dataset.train_classes=2",
            wrong,
            "subset_seed=1",
        )
        with pytest.raises(
            DataError, match=r"training images of each of the \d classes that are trained on, but \d have"
        ):
            data.setup()


def in_shop(folder: Path, images: str = "Img/img", rows: list[tuple[str, str, str]] | None = None) -> None:
    rows = rows or [
        ("a", "id_00000002", "train"), ("b", "id_00000002", "train"), ("c", "id_00000007", "train"),
        ("d", "id_00000001", "query"), ("e", "id_00000001", "gallery"), ("f", "id_00000005", "query"),
        ("g", "id_00000005", "gallery"), ("h", "id_00000005", "gallery"),
    ]  # fmt: skip
    lines = [f"img/WOMEN/{name}.jpg   {item} {part}\n" for name, item, part in rows]
    for name, _, _ in rows:
        picture(folder / images / f"WOMEN/{name}.jpg")
    (folder / "Eval").mkdir()
    (folder / "Eval/list_eval_partition.txt").write_text(
        f"{len(rows)}\nimage_name item_id evaluation_status\n" + "".join(lines)
    )


@pytest.mark.parametrize("images", ["Img/img", "img"])
def test_in_shop_has_queries_and_a_gallery(images: str, tmp_path: Path) -> None:
    in_shop(tmp_path / "In-shop", images)
    data = data_of("in_shop", tmp_path, "dataset.num_classes=4", "dataset.train_classes=2")
    data.setup()
    assert data.test_class_names == [f"id_0000000{item}" for item in (2, 7, 1, 5)]
    assert data.class_counts.tolist() == [2, 1]
    assert data.test_dataset.labels.tolist() == [2, 3]
    assert data.gallery_dataset.labels.tolist() == [2, 3, 3]
    assert [batch[1].tolist() for batch in data.gallery_dataloader()] == [[2, 3, 3]]
    assert verify(data).problems == []


def test_a_query_without_an_image_in_the_gallery_is_refused(tmp_path: Path) -> None:
    rows = [("a", "1", "train"), ("b", "2", "train"), ("c", "3", "query"), ("d", "3", "query"), ("e", "4", "gallery")]
    in_shop(tmp_path / "In-shop", rows=rows)
    data = data_of("in_shop", tmp_path, "dataset.num_classes=4", "dataset.train_classes=2")
    with pytest.raises(
        DataError, match="in the gallery of every class that is asked for, but 1 have none, for example '3'"
    ):
        data.setup()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "1", "train"), ("b", "1", "query"), ("c", "1", "gallery")], "1 are in both, for example '1'"),
        ([("a", "1", "train"), ("a", "2", "query"), ("c", "2", "gallery")], "named twice"),
        ([("a", "1", "train"), ("b", "2", "search"), ("c", "2", "gallery")], "but got 'search'"),
        ([("a", "1", "train"), ("b", "2", "query")], "images of the part 'gallery'"),
        ([("a", "1 1", "train")], "Expected 3 columns in line 3"),
    ],
)
def test_a_damaged_list_is_refused(rows: list[tuple[str, str, str]], message: str, tmp_path: Path) -> None:
    in_shop(tmp_path, rows=rows)
    source = RetrievalLists("in_shop", ".")
    with pytest.raises(DataError, match=message):
        source.load("train", tmp_path, 0)


@pytest.mark.parametrize("layout", ["cars196", "stanford_online_products", "in_shop"])
def test_a_missing_dataset_is_one_line_with_what_to_fetch(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound) as refused:
        RetrievalLists(layout, "here").prepare(tmp_path, False)
    said = str(refused.value)
    assert str(tmp_path / "here") in said
    assert "https://" in said
    assert "\n" not in said


def test_cars_without_labels_or_with_other_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken/car_ims").mkdir(parents=True)
    (tmp_path / "broken/cars_annos.mat").write_bytes(b"no such file")
    with pytest.raises(DataError, match="list of Cars196 with labels, but it cannot be read"):
        RetrievalLists("cars196", "broken").prepare(tmp_path, False)
    class_folders(tmp_path / "folders")
    picture(tmp_path / "folders/test/Zebra/1.jpg")
    with pytest.raises(DataError, match="but got 'Zebra'"):
        RetrievalLists("cars196", "folders").prepare(tmp_path, False)
    with pytest.raises(ValueError, match="Expected `layout` to be one of"):
        RetrievalLists("cars", "folders")


def test_mini_imagenet_and_rsscn7_train_on_all_images_of_their_classes(tmp_path: Path) -> None:
    lists, names = tmp_path / "lists/mini-imagenet-splits", ["train", "val", "test"]
    lists.mkdir(parents=True)
    for part, label in zip(names, ("n01", "n02", "n03"), strict=True):
        files = [f"{label}_{number}.jpg" for number in range(3)]
        for file in files:
            picture(tmp_path / "mini-imagenet/images" / file)
        (lists / f"{part}.csv").write_text("filename,label\n" + "".join(f"{file},{label}\n" for file in files))
    data = data_of("mini_imagenet_classes", tmp_path, "dataset.num_classes=3", "dataset.train_classes=2")
    data.setup()
    assert data.class_counts.tolist() == [3, 3]
    assert data.test_dataset.labels.tolist() == [2, 2, 2]
    for label in range(7):
        for number in range(2):
            picture(tmp_path / f"RSSCN7/{label}/{number}.jpg", 10 * label + number)
    data = data_of("rsscn7_classes", tmp_path)
    data.setup()
    assert data.class_counts.tolist() == [2, 2, 2, 2]
    assert torch.bincount(data.test_dataset.labels).tolist() == [0, 0, 0, 0, 2, 2, 2]
