"""Makers of faulty data: each writes it below a folder and uses it, which must fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.files import Folder, ImageFiles
from semscale_pl.data.lists import Lists, read_list
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import crop_flip
from semscale_pl.data.vision import Digits, Vision
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
