"""Thirty and more faults in data: each is answered by one clear line that names the place and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faulty_data import (
    CSV,
    CSV_TEST,
    NAN,
    Samples,
    balanced_with_an_empty_class,
    class_folder_only_in_test,
    class_folders_without_images,
    classes_without_splits,
    crop_of_a_small_image,
    damaged_mnist,
    digits,
    empty_class_folder,
    empty_file,
    empty_folder,
    folder_named_as_an_image,
    folders,
    foreign,
    from_folders,
    from_lists,
    image_set,
    images_of_two_sizes,
    json_of,
    lists,
    missing_class_folder,
    named_in_two_lists,
    names_file,
    names_file_with_a_line_twice,
    names_twice,
    no_whole_batch,
    one_class,
    one_folder_for_both_splits,
    picture,
    pixels_of_32_bits,
    several_things_missing,
    text_named_jpeg,
    torch_datasets,
    truncated_jpeg,
    unchecked_truncated_jpeg,
    unreadable_list,
)
from PIL import Image

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.files import Folder, ImageFiles
from semscale_pl.data.lists import read_list
from semscale_pl.data.source import DatasetNotFound
from semscale_pl.data.transforms import crop_flip
from semscale_pl.data.vision import Digits

# What is done, and what the line has to contain.
FAULTS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "missing class folder": (missing_class_folder, ("same class folders", "'dog'", "test")),
    "class folder only in test": (class_folder_only_in_test, ("same class folders", "'emu'", "training")),
    "empty class": (empty_class_folder, ("every class to have training images", "1 of 3", "emu")),
    "class folders without images": (class_folders_without_images, ("found none", "jpg, jpeg, jfif, png")),
    "empty folder": (empty_folder, ("No folders of images", "one folder per class")),
    "truncated JPEG": (truncated_jpeg, ("1 of 8 cannot be decoded", "train/cat/0.jpg", "truncated", "data verify")),
    "text named .jpg": (text_named_jpeg, ("1 of 8", "test/dog/1.jpg", "no known image format")),
    "empty file": (empty_file, ("1 of 8", "test/dog/1.jpg", "no known image format")),
    "truncated JPEG that nobody looked for": (unchecked_truncated_jpeg, ("train/cat/0.jpg", "cannot be read")),
    "an unknown check of the images": (digits(check_images="all"), ("decode, exist, none", "'all'")),
    "folder named as an image": (folder_named_as_an_image, ("x.jpg", "cannot be read")),
    "train and test overlapping": (one_folder_for_both_splits, ("share no image", "4 are in both", "cat/0.jpg")),
    "lists overlapping": (lists("a.jpg 0\nd.jpg 0\n"), ("share no image", "1 are in both", "d.jpg")),
    "list line without label": (lists("a.jpg 0\nb.jpg\n"), ("`path label` in line 2", "'b.jpg'", "train.txt")),
    "list line without label, path with a space": (lists("x/a b.jpg\n"), ("`path label` in line 1", "train.txt")),
    "missing label": (lists("a.jpg 0\nb.jpg nan\n"), ("line 2", "a name", "'nan'")),
    "negative label": (lists("a.jpg -1\n"), ("line 1", "at least 0", "'-1'")),
    "two columns of one name": (
        lists("filename,label,label\na.jpg,0,1\n", CSV_TEST, "csv"),
        ("one column 'label'", "train.csv"),
    ),
    "label out of range": (
        lists("a.jpg 0\nb.jpg 7\n", class_names=["0", "1"]),
        ("among 2 classes", "'7' for b.jpg", "train.txt", "1 such"),
    ),
    "a class of the test list alone": (lists("a.jpg 0\nb.jpg 2\n", "d.jpg 1\n"), ("1 of 3 have none (1)",)),
    "one file under two names": (
        lists("a.jpg 0\nb.jpg 1\n./a.jpg 0\n"),
        ("every image once", "'a.jpg' and './a.jpg' are one file", "train.txt"),
    ),
    "one file under two names in two lists": (lists("./x/../a.jpg 0\nb.jpg 1\n", "a.jpg 0\n"), ("share no image",)),
    "broken images left out unseen": (
        digits(check_images="exist", on_bad_image="skip"),
        ("check_images=decode with on_bad_image=skip", "exist"),
    ),
    "tags of images that come decoded": (digits(exif_rotation=True), ("image files with exif_rotation=true",)),
    "empty list": (lists("\n"), ("train.txt", "list is empty")),
    "unreadable list": (unreadable_list, ("a.txt", "cannot be read", "utf-8")),
    "list of an unknown form": (lambda root: read_list(root / "a.xml"), (".txt, .json or .csv", "a.xml")),
    "two classes with one name": (names_twice, ("name of its own", "'x' for 2 classes")),
    "two equal lines in the names": (names_file_with_a_line_twice, ("name of its own", "'n1 crane'")),
    "CSV without names": (lists("a.jpg,0\nb.jpg,1\n", CSV_TEST, "csv"), ("Add a first line, filename,label",)),
    "CSV without column": (lists("file,label\na.jpg,0\n", CSV_TEST, "csv"), ("['filename']", "image_column")),
    "CSV line without label": (lists(CSV + "a.jpg\n", CSV_TEST, "csv"), ("label in line 2", "train.csv")),
    "CSV with a missing file": (
        lists(CSV + "a.jpg,0\nz.jpg,0\n", CSV_TEST, "csv"),
        ("1 of 2 images were not found", "z.jpg"),
    ),
    "JSON without annotations": (json_of({"images": []}), ("`annotations`", "train.json")),
    "JSON annotation without class": (json_of({"annotations": [{"fpath": "a.jpg"}]}), ("`category_id`", "n 0")),
    "JSON with a fractional class": (
        json_of({"annotations": [{"fpath": "a.jpg", "category_id": 0.5}]}),
        ("annotation 0", "integer", "0.5"),
    ),
    "broken JSON": (lists('{"annotations": [', "{}", "json"), ("train.json to be JSON", "line 1")),
    "wrong number of classes": (digits(num_classes=11), ("`num_classes` to be 10", "got 11")),
    "imbalance factor without imbalance": (digits(imbalance_factor=10), ("imbalance=none", "got 10")),
    "imbalance factor below 1": (digits(imbalance="step", imbalance_factor=0.1), ("at least 1", "0.1")),
    "labels and images of different length": (image_set(torch.zeros(3, 1, 4, 4), [0, 1]), ("3 images", "got 2")),
    "images without channels": (
        image_set(torch.zeros(3, 4, 4, dtype=torch.uint8), [0, 1, 1]),
        ("(N, channels, height, width)", "(3, 4, 4)"),
    ),
    "images of whole numbers": (image_set(torch.zeros(1, 1, 4, 4, dtype=torch.int64), [0]), ("uint8", "int64")),
    "NaN pixels": (image_set(NAN, [0, 1]), ("NaN", "1 images", "first number 1")),
    "no images": (image_set([], torch.zeros(0, dtype=torch.int64)), ("at least one image",)),
    "one-hot labels": (image_set(torch.zeros(1, 1, 4, 4), [[0, 1]]), ("one integer per image", "(1, 2)")),
    "labels as floats": (image_set(torch.zeros(1, 1, 4, 4), [0.0]), ("one integer per image", "float32")),
    "label above the names": (image_set(torch.zeros(1, 1, 4, 4), [2]), ("0..1", "2..2")),
    "torch dataset with a gap in its labels": (torch_datasets([0, 0, 2]), ("1 of 3 have none (1)",)),
    "nothing to balance": (balanced_with_an_empty_class, ("'1' has none", "smallest class")),
    "labels as words": (foreign(Samples((0, "cat"), (0, "dog"))), ("class numbers", "'cat'", "target_transform")),
    "labels between classes": (foreign(Samples(0, 0, targets=[0.0, 0.7])), ("Samples", "whole numbers", "0.7")),
    "samples that are dictionaries": (foreign(Samples({"image": 0})), ("(image, label)", "number 0 is a dict")),
    "dataset without samples": (foreign(Samples()), ("Samples to have samples", "empty")),
    "dataset without a length": (foreign(iter([])), ("samples by number", "Iterable datasets")),
    "one class": (one_class, ("two classes", "cat alone")),
    "image named twice": (lists("a.jpg 0\nb.jpg 1\na.jpg 0\n"), ("every image once", "'a.jpg' is named twice")),
    "image of two classes": (
        lists(CSV + "a.jpg,x\na.jpg,y\n", CSV_TEST, "csv"),
        ("'a.jpg' is named twice", "train.csv", "once as 'x' and once as 'y'"),
    ),
    "image in two lists that are joined": (named_in_two_lists, ("'a.jpg' is named twice in x.txt, y.txt",)),
    "CSV with an endless cell": (
        lists(CSV + "a.jpg," + "x" * 200_000, CSV_TEST, "csv"),
        ("CSV file", "after line 1", "field larger"),
    ),
    "list in UTF-16": (lambda root: from_lists(root, "a.jpg \u00ff\n".encode("utf-16")), ("train.txt", "as UTF-8")),
    "class names in Latin-1": (names_file("Kr\u00e4he\nB\n".encode("latin-1")), ("names.txt", "Save it as UTF-8")),
    "class without a name": (names_file(b"crane\n\nheron\n"), ("names.txt", "line 2 is empty")),
    "JSON with images without names": (
        json_of({"annotations": [{"image_id": 1, "category_id": 0}], "images": [7, {"id": 1}]}),
        ("annotation 0", "`image_id` of an image"),
    ),
    "JSON with images that are no list": (
        json_of({"annotations": [{"image_id": [1], "category_id": 0}], "images": None}),
        ("annotation 0", "`image_id` of an image"),
    ),
    "JSON with a class that is null": (
        json_of({"annotations": [{"fpath": "a.jpg", "category_id": None}]}),
        ("annotation 0", "None"),
    ),
    "image smaller than the crop": (crop_of_a_small_image, ("at least 24 pixels", "(9, 9)", "dataset.image_size")),
    "images of two sizes": (images_of_two_sizes, ("one shape", "(3, 9, 9) and (3, 30, 20)", "dataset.image_size")),
    "pixels without a range": (pixels_of_32_bits, ("1 of 9 cannot be decoded", "depth.tif", "8 or 16 bits")),
    "augmentation without a size": (lambda _: crop_flip(None), ("`image_size`", "None", "dataset.image_size")),  # type: ignore[arg-type]
    "classes where splits are expected": (classes_without_splits, ("mine/train", "dataset.source.train_fraction=0.8")),
    "several things missing": (several_things_missing, ("a.txt, ", "b.txt, ", "images were not found")),
    "more means than channels": (digits(channels=1, mean=(0.1, 0.2)), ("`mean`", "each of 1 channels", "[0.1, 0.2]")),
    "no spread": (digits(std=(0.0,)), ("`std` to be above 0", "[0.0]")),
    "two channels": (digits(channels=2), ("`channels` to be 1 (grey) or 3 (colour) or null", "got 2")),
    "no pixels": (digits(image_size=0), ("`image_size` to be an integer of at least 1", "got 0")),
    "an unknown order of the classes": (digits(class_order="size"), ("label, reversed, permuted", "'size'")),
    "no whole batch": (
        no_whole_batch,
        ("4 training images make no batch of 128", "dataset.drop_last=false"),
    ),
    "damaged MNIST": (damaged_mnist, ("MNIST", "whole", "fetch them again")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str, tmp_path: Path) -> None:
    provoke, parts = FAULTS[fault]
    with pytest.raises((ValueError, DatasetNotFound)) as caught:
        provoke(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_at_least_thirty_faults() -> None:
    assert len(FAULTS) >= 30


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("L", 100, "jpg", (100, 100, 100)),
        ("RGBA", (10, 20, 30, 40), "png", (10, 20, 30)),
        ("LA", (50, 60), "png", (50, 50, 50)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 256 * 77 + 5, "png", (77, 77, 77)),
        ("CMYK", (0, 0, 0, 0), "jpg", (255, 255, 255)),
    ],
)
def test_images_that_are_not_rgb_are_read_as_rgb(
    mode: str, value: Any, suffix: str, expected: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / f"x.{suffix}"
    picture(path, mode, value)
    image = ImageFiles([path])[0]
    assert image.mode == "RGB"
    assert np.abs(np.subtract(image.getpixel((4, 4)), expected)).max() <= 1


def test_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (9, 9), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "x.png", transparency=bytes([0, 128]))
    assert ImageFiles([tmp_path / "x.png"])[0].getpixel((0, 0)) == (9, 8, 7)


def test_grey_and_rgba_among_rgb_train(tmp_path: Path) -> None:
    folder = folders(tmp_path)
    picture(folder / "train/cat/grey.png", "L", 9)
    picture(folder / "train/dog/opaque.png", "RGBA", (1, 2, 3, 4))
    from_folders(tmp_path, image_size=9, channels=3)


def test_validation_never_empties_a_class() -> None:
    data = ImbalancedDataModule(Digits(), imbalance="exponential", imbalance_factor=100, validation_per_class=50)
    data.setup()
    assert int(data.class_counts.min()) == 1
    assert data.val_dataset is not None
    assert torch.bincount(data.val_dataset.labels, minlength=10)[-2:].tolist() == [0, 0]


def test_missing_images_are_counted_before_training_and_none_is_opened(tmp_path: Path) -> None:
    folder = folders(tmp_path)
    (folder / "test/dog/1.jpg").write_text("not an image")
    ImbalancedDataModule(Folder("mine"), root=str(tmp_path), check_images="exist").setup()
    with pytest.raises(DatasetNotFound, match=r"2 of 3 images were not found, the first is .*x\.jpg"):
        from_lists(tmp_path, "a.jpg 0\nx.jpg 0\nlost/y.jpg 0\n")
