"""Tiny twins of the large datasets, in the same layout, through their own configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from semscale_pl.data.verification import verify

CONF = Path(__file__).parents[2] / "conf"
LT = "lists/lt-splits"
Twin = tuple[list[str], list[int], int]


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (20, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_list(root: Path, name: str, lines: list[str]) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(f"{line}\n" for line in lines))


def text_lists(root: Path, images: str, name: str, sizes: dict[str, list[int]], pattern: str) -> None:
    """Write images and `path label` lists; `pattern` has the split, the class and the image's number."""
    for split, counts in sizes.items():
        lines = []
        for label, count in enumerate(counts):
            for number in range(count):
                path = pattern.format(split=split, label=label, number=number)
                picture(root / images / path, 100 * label + number)
                lines.append(f"{path} {label}")
        write_list(root, f"{LT}/{name}_{split}.txt", lines)


def imagenet_lt(root: Path) -> Twin:
    sizes = {"train": [5, 3, 2], "val": [1, 1, 1], "test": [2, 2, 2]}
    text_lists(root, "imagenet", "ImageNet_LT", sizes, "{split}/n0{label}/{split}_{number}.JPEG")
    write_list(root, f"{LT}/ImageNet_LT_classnames.txt", ["n00 tench", "n01 sunglasses", "n02 sunglasses"])
    return ["dataset.num_classes=3"], [5, 3, 2], 6


def places_lt(root: Path) -> Twin:
    sizes = {"train": [4, 1], "val": [1, 1], "test": [2, 2]}
    text_lists(root, "places365", "Places_LT", sizes, "{split}/place{label}/{number:08}.jpg")
    write_list(root, f"{LT}/Places_LT_classnames.txt", ["place0 place0", "place1 place1"])
    return ["dataset.num_classes=2"], [4, 1], 4


def inaturalist2018(root: Path) -> Twin:
    sizes = {"train": [6, 2], "val": [3, 3]}
    text_lists(root, "inaturalist2018", "iNaturalist18", sizes, "train_val2018/Plantae/{label}/{split}{number}.jpg")
    return ["dataset.num_classes=2"], [6, 2], 6


def _json_overrides() -> list[str]:
    return [
        "dataset.source.lists.train=lists/train2018.json",
        "dataset.source.lists.test=lists/val2018.json",
        "dataset.num_classes=2",
    ]


def _annotated(root: Path, official: bool) -> None:
    for split, counts in (("train", [6, 2]), ("val", [3, 3])):
        images, annotations = [], []
        for label, count in enumerate(counts):
            for number in range(count):
                path, key = f"train_val2018/Aves/{label}/{split}{number}.jpg", 10 * label + number
                picture(root / "inaturalist2018" / path, key)
                images.append({"id": key, "file_name": path, "width": 16, "height": 20})
                entry: dict[str, Any] = {"image_id": key, "category_id": label}
                annotations.append(entry if official else {**entry, "fpath": path, "im_height": 20, "im_width": 16})
        content = {"annotations": annotations, **({"images": images} if official else {"num_classes": 2})}
        write_list(root, f"lists/{split}2018.json", [json.dumps(content)])


def inaturalist2018_json(root: Path) -> Twin:
    _annotated(root, official=False)
    return _json_overrides(), [6, 2], 6


def inaturalist2018_official_json(root: Path) -> Twin:
    _annotated(root, official=True)
    return _json_overrides(), [6, 2], 6


def mini_imagenet(root: Path) -> Twin:
    for split, classes in (("train", "ab"), ("val", "c"), ("test", "d")):
        rows = [f"n{name}{number:08}.jpg,n{name}" for name in classes for number in range(6)]
        for number, row in enumerate(rows):
            picture(root / "mini-imagenet/images" / row.split(",")[0], number)
        write_list(root, f"lists/mini-imagenet-splits/{split}.csv", ["filename,label", *rows])
    return ["dataset.num_classes=4"], [5, 5, 5, 5], 4


def class_folders(folder: str, classes: int, images: int, suffix: str) -> Callable[[Path], Twin]:
    def make(root: Path) -> Twin:
        for label in range(classes):
            for number in range(images):
                picture(root / folder / f"class_{label}" / f"class_{label}_{number:03}.{suffix}", number)
        share = [images // 2] * classes
        return [f"dataset.num_classes={classes}"], share, classes * images - sum(share)

    return make


def odir(root: Path) -> list[int]:
    """Write images and the single-image form of the labels, `['N']`, among the columns of the original."""
    names, counts = "NDGCAHMO", [20, 10, 10, 10, 10, 3, 10, 10]
    rows = []
    for position, (name, count) in enumerate(zip(names, counts, strict=True)):
        for number in range(count):
            file = f"{100 * position + number}_left.jpg"
            picture(root / "odir5k/preprocessed_images" / file, number)
            rows.append(f"{number},69,Female,\"[1, 0, 0, 0, 0, 0, 0, 0]\",['{name}'],{file}")
    write_list(root, "lists/odir5k/full_df.csv", ["ID,Patient Age,Patient Sex,target,labels,filename", *rows])
    return counts


def oia_odir(root: Path) -> Twin:
    train = [round(0.7 * count) for count in odir(root)]
    return [], train, 83 - sum(train)


def oia_odir_b(root: Path) -> Twin:
    odir(root)
    return [], [2] * 8, 8


TWINS: dict[str, tuple[str, Callable[[Path], Twin]]] = {
    "imagenet_lt": ("imagenet_lt", imagenet_lt),
    "places_lt": ("places_lt", places_lt),
    "inaturalist2018": ("inaturalist2018", inaturalist2018),
    "inaturalist2018 as JSON": ("inaturalist2018", inaturalist2018_json),
    "inaturalist2018 as the organisers' JSON": ("inaturalist2018", inaturalist2018_official_json),
    "mini_imagenet": ("mini_imagenet", mini_imagenet),
    "rsscn7": ("rsscn7", class_folders("RSSCN7", 7, 4, "jpg")),
    "rsscn7_64": ("rsscn7_64", class_folders("rsscn7_64", 7, 4, "png")),
    "nwpu_resisc45": ("nwpu_resisc45", class_folders("NWPU-RESISC45", 5, 4, "jpg")),
    "oia_odir": ("oia_odir", oia_odir),
    "oia_odir_b": ("oia_odir_b", oia_odir_b),
}


def built(name: str, root: Path, overrides: list[str]) -> Any:
    small = [f"dataset.root={root}", "dataset.image_size=12", "dataset.batch_size=4", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose("train", overrides=[f"dataset={name}", *small]).dataset)


@pytest.mark.parametrize("twin", TWINS)
def test_twin_loads_through_its_config(twin: str, tmp_path: Path) -> None:
    name, make = TWINS[twin]
    overrides, counts, test_size = make(tmp_path)
    data = built(name, tmp_path, overrides)
    data.prepare_data()
    data.setup()
    assert data.class_counts.tolist() == counts
    assert len(data.test_dataset) == test_size
    assert data.has_validation == (name in ("imagenet_lt", "places_lt"))
    for loader in (data.train_dataloader(), data.test_dataloader()):
        images, labels, indices = next(iter(loader))
        assert images.shape == (len(labels), 3, 12, 12)
        assert images.isfinite().all()
        assert len(indices) == len(labels) <= (4 if loader.dataset is data.train_dataset else 512)


@pytest.mark.parametrize("twin", TWINS)
def test_verify_finds_a_twin_whole_but_smaller_than_published(twin: str, tmp_path: Path) -> None:
    name, make = TWINS[twin]
    overrides, counts, test_size = make(tmp_path)
    report = verify(built(name, tmp_path, overrides))
    assert not report.problems
    assert not report.bad_images
    found = {entry.what: entry for entry in report.findings}
    assert found["train"].found.startswith(f"{sum(counts)} images")
    assert found["test"].found.startswith(f"{test_size} images")
    assert found["decodable"].ok
    assert not report.ok
    counted = found["all"] if "all" in found else found["train"]
    assert counted.ok is False


def test_kinds_of_sunglasses_keep_names_apart(tmp_path: Path) -> None:
    data = built("imagenet_lt", tmp_path, imagenet_lt(tmp_path)[0])
    data.setup()
    assert data.class_names == ["tench", "n01 sunglasses", "n02 sunglasses"]
