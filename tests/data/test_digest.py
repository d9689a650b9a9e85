"""The digest of a dataset: another one where pixels, files, labels, classes or the choice of images differ."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from PIL import Image

from semscale_pl.data.digest import images_digest
from semscale_pl.data.files import class_folders
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import ModelInput


def digest(images: ImageSet, rows: torch.Tensor | None = None) -> str:
    chosen = torch.arange(len(images.labels)) if rows is None else rows
    return images_digest({"train": IndexedDataset(images, chosen, ModelInput())})


def test_images_in_memory() -> None:
    pixels = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
    labels = torch.tensor([0, 1, 0, 1])
    other = pixels.clone()
    other[2, 1, 0, 0] += 1
    first = digest(ImageSet(pixels, labels, ["a", "b"]))
    assert first == digest(ImageSet(pixels.clone(), labels.clone(), ["a", "b"]))
    changed = [
        digest(ImageSet(other, labels, ["a", "b"])),
        digest(ImageSet(pixels, labels.flip(0), ["a", "b"])),
        digest(ImageSet(pixels, labels, ["b", "a"])),
        digest(ImageSet(pixels, labels, ["a", "b"]), torch.tensor([0, 1, 2])),
        images_digest({"test": IndexedDataset(ImageSet(pixels, labels, ["a", "b"]), torch.arange(4), ModelInput())}),
        digest(ImageSet([pixels[0] + 1, *pixels[1:]], labels, ["a", "b"])),
    ]
    assert len({first, *changed}) == 7


def test_files_that_change_and_files_that_only_move(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "one" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "one" / name / f"{number}.png")
    first = digest(class_folders(tmp_path / "one"))
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert digest(class_folders(tmp_path / "two")) == first
    image = tmp_path / "two" / "a" / "0.png"
    before = image.stat()
    Image.new("RGB", (4, 5), (0, 0, 0)).save(image)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert digest(class_folders(tmp_path / "two")) != first
