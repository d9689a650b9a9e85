"""Thirty and more faults in data: each is answered by one clear line that names the place and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.digits import Digits
from semscale_pl.data.files import Folder, ImageFiles
from semscale_pl.data.list_files import read_list
from semscale_pl.data.lists import Lists
from semscale_pl.data.source import DatasetNotFound, ImageSet
from semscale_pl.data.transforms import crop_flip
from semscale_pl.data.vision import Vision
from semscale_pl.data.wrapped import Balanced, TorchDatasets

SPLITS = ("train", "test")


def picture(path: Path, mode: str = "RGB", value: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (9, 9), value if value is not None else 0).save(path)


def folders(root: Path) -> Path:
    """Write two classes of two images in each split."""
    for split in SPLITS:
        for name in ("cat", "dog"):
            for number in range(2):
                picture(root / "mine" / split / name / f"{number}.jpg")
    return root / "mine"


def from_folders(root: Path, **options: Any) -> None:
    data = ImbalancedDataModule(Folder("mine"), root=str(root), batch_size=2, **options)
    data.prepare_data()
    data.setup()
    for loader in (data.train_dataloader(), data.test_dataloader()):
        for _ in loader:
            pass


def from_lists(root: Path, train: str | bytes, test: str = "d.jpg 0\n", suffix: str = "txt", **options: Any) -> None:
    for name in "abcd":
        picture(root / "images" / f"{name}.jpg")
    (root / f"train.{suffix}").write_bytes(train if isinstance(train, bytes) else train.encode())
    (root / f"test.{suffix}").write_text(test)
    source = Lists("images", {split: f"{split}.{suffix}" for split in SPLITS}, **options)
    ImbalancedDataModule(source, root=str(root)).setup()


def missing_class_folder(root: Path) -> None:
    for file in (folders(root) / "test/dog").iterdir():
        file.unlink()
    (root / "mine/test/dog").rmdir()
    from_folders(root)


def class_folder_only_in_test(root: Path) -> None:
    picture(folders(root) / "test/emu/0.jpg")
    from_folders(root)


def empty_class_folder(root: Path) -> None:
    (folders(root) / "train/emu").mkdir()
    (root / "mine/test/emu").mkdir()
    from_folders(root)


def class_folders_without_images(root: Path) -> None:
    for split in SPLITS:
        (root / "mine" / split / "cat").mkdir(parents=True)
    from_folders(root)


def empty_folder(root: Path) -> None:
    (root / "mine").mkdir()
    from_folders(root)


def truncated_jpeg(root: Path, **options: Any) -> None:
    path = folders(root) / "train/cat/0.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    from_folders(root, **options)


def unchecked_truncated_jpeg(root: Path) -> None:
    truncated_jpeg(root, check_images="exist")


def text_named_jpeg(root: Path) -> None:
    (folders(root) / "test/dog/1.jpg").write_text("not an image")
    from_folders(root)


def empty_file(root: Path) -> None:
    (folders(root) / "test/dog/1.jpg").write_bytes(b"")
    from_folders(root)


def folder_named_as_an_image(root: Path) -> None:
    (root / "x.jpg").mkdir()
    ImageFiles([root / "x.jpg"])[0]


def one_folder_for_both_splits(root: Path) -> None:
    folders(root)
    ImbalancedDataModule(Folder("mine", test="train"), root=str(root)).setup()


def unreadable_list(root: Path) -> None:
    (root / "a.txt").write_bytes(b"a.jpg 0\xff\xfe\n")
    read_list(root / "a.txt")


def names_twice(root: Path) -> None:
    from_lists(root, "a.jpg x\nb.jpg y\n", "d.jpg x\n", class_names=["x", "y", "x"])


def names_file_with_a_line_twice(root: Path) -> None:
    (root / "names.txt").write_text("n1 crane\nn1 crane\n")
    from_lists(root, "a.jpg 0\nb.jpg 1\n", class_names_file="names.txt")


def json_of(content: Any) -> Callable[[Path], None]:
    return lambda root: from_lists(root, json.dumps(content), json.dumps(content), "json")


def image_set(images: Any, labels: Any, names: int = 2) -> Callable[[Path], Any]:
    return lambda _: ImageSet(images, torch.as_tensor(labels), [str(name) for name in range(names)])


def torch_datasets(labels: list[int], **options: Any) -> Callable[[Path], None]:
    tensors = TensorDataset(torch.zeros(len(labels), 1, 4, 4), torch.tensor(labels))
    return lambda _: ImbalancedDataModule(TorchDatasets(tensors, tensors), **options).setup()


def balanced_with_an_empty_class(_: Path) -> None:
    tensors = TensorDataset(torch.zeros(2, 1, 4, 4), torch.tensor([0, 2]))
    ImbalancedDataModule(Balanced(TorchDatasets(tensors, tensors))).setup()


def damaged_mnist(root: Path) -> None:
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            path = root / f"MNIST/raw/{part}-{kind}-ubyte"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x00\x00\x08\x03\x00\x00")
    Vision("MNIST").load("train", root, 0)


def lists(train: str, test: str = "d.jpg 0\n", suffix: str = "txt", **options: Any) -> Callable[[Path], None]:
    return lambda root: from_lists(root, train, test, suffix, **options)


def digits(**options: Any) -> Callable[[Path], None]:
    return lambda _: ImbalancedDataModule(Digits(), **options).setup()


def no_whole_batch(root: Path) -> None:
    folders(root)
    data = ImbalancedDataModule(Folder("mine"), root=str(root), drop_last=True)
    data.setup()
    data.train_dataloader()


def crop_of_a_small_image(root: Path) -> None:
    folders(root)
    from_folders(root, image_size=32, augmentation=crop_flip(32))


def images_of_two_sizes(root: Path) -> None:
    picture(folders(root) / "train/cat/0.jpg")
    Image.new("RGB", (20, 30)).save(root / "mine/train/dog/0.jpg")
    from_folders(root)


def pixels_of_32_bits(root: Path) -> None:
    picture(folders(root) / "train/cat/depth.tif", "F", 0.5)
    from_folders(root)


def one_class(root: Path) -> None:
    for split in SPLITS:
        picture(root / "mine" / split / "cat" / "0.jpg")
    from_folders(root)


def names_file(content: bytes) -> Callable[[Path], None]:
    def provoke(root: Path) -> None:
        (root / "names.txt").write_bytes(content)
        from_lists(root, "a.jpg 0\nb.jpg 1\n", class_names_file="names.txt")

    return provoke


def named_in_two_lists(root: Path) -> None:
    for part in ("x", "y"):
        (root / f"{part}.txt").write_text("a.jpg 0\n")
    picture(root / "images/a.jpg")
    Lists("images", {"all": ["x.txt", "y.txt"]}).load("train", root, 0)


def classes_without_splits(root: Path) -> None:
    picture(root / "mine/cat/0.jpg")
    from_folders(root)


def several_things_missing(root: Path) -> None:
    Lists("images", {"train": "a.txt", "test": "b.txt"}).prepare(root, False)


def foreign(dataset: Any) -> Callable[[Path], None]:
    return lambda _: ImbalancedDataModule(TorchDatasets(dataset, dataset)).setup()


class Samples:
    """A dataset of two samples, with whatever attributes."""

    def __init__(self, *samples: Any, **attributes: Any) -> None:
        self.samples = samples
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


CSV, CSV_TEST = "filename,label\n", "filename,label\nd.jpg,0\n"
NAN = torch.zeros(2, 1, 4, 4)
NAN[1, 0, 2, 2] = float("nan")

# What is done, and what the line has to contain.
FAULTS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "missing class folder": (missing_class_folder, ("same class folders", "'dog'", "test")),
    "class folder only in test": (class_folder_only_in_test, ("same class folders", "'emu'", "training")),
    "empty class": (empty_class_folder, ("every class to have training images", "1 of 3", "emu")),
    "class folders without images": (class_folders_without_images, ("found none", "jpg, jpeg, png")),
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
    "fractional label": (lists("a.jpg 0\nb.jpg 1.5\n"), ("line 2", "integer", "'1.5'")),
    "negative label": (lists("a.jpg -1\n"), ("line 1", "at least 0", "'-1'")),
    "numbers and names": (lists("a.jpg 0\nb.jpg dog\n"), ("all numbers or all names", "'dog'", "train.txt")),
    "label out of range": (
        lists("a.jpg 0\nb.jpg 7\n", class_names=["0", "1"]),
        ("among 2 classes", "'7' for b.jpg", "train.txt", "1 such"),
    ),
    "a class without a list line": (lists("a.jpg 0\nb.jpg 2\n"), ("1 of 3 have none (1)",)),
    "empty list": (lists("\n"), ("train.txt", "list is empty")),
    "unreadable list": (unreadable_list, ("a.txt", "cannot be read", "utf-8")),
    "list of an unknown form": (lambda root: read_list(root / "a.xml"), (".txt, .json or .csv", "a.xml")),
    "two classes with one name": (names_twice, ("name of its own", "'x' for 2 classes")),
    "two equal lines in the names": (names_file_with_a_line_twice, ("name of its own", "'n1 crane'")),
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
        ("annotation 0", "integer", "'0.5'"),
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
    "label beyond all classes": (lists("a.jpg 0\nb.jpg 99999999999\n"), ("one after the other", "99999999999")),
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
    "two channels": (digits(channels=2), ("`channels` to be 1, 3 or null", "got 2")),
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
