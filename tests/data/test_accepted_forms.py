"""What users' data looks like and is read all the same: other separators, line ends, marks, suffixes, hidden files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.decoding import read_rgb
from semscale_pl.data.files import Folder
from semscale_pl.data.lists import Lists, read_list
from semscale_pl.data.wrapped import TorchDatasets, labels_of

PAIRS = [("a b.jpg", "0"), ("c.jpg", "1")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", b"a b.jpg 0\nc.jpg 1\n"),
        ("x.txt", b"a b.jpg\t0\nc.jpg\t1\n"),
        ("x.TXT", b"\xef\xbb\xbfa b.jpg 0\r\n\r\nc.jpg 1\r\n"),
        ("x.csv", b"filename,label\na b.jpg,0\nc.jpg,1\n"),
        ("x.csv", b"\xef\xbb\xbffilename,label\r\na b.jpg,0\r\n\r\nc.jpg,1\r\n"),
        ("x.csv", b"label;filename\r\n0;a b.jpg\r\n1;c.jpg\r\n"),
        ("x.csv", b'"filename"\t"label"\n"a b.jpg"\t0\nc.jpg\t1\n'),
        ("x.CSV", b'filename, label, note\na b.jpg, 0, "x, y"\nc.jpg , 1,\n'),
        (
            "x.json",
            b'{"annotations": [{"fpath": "a b.jpg", "category_id": 0}, {"fpath": "c.jpg", "category_id": "1"}]}',
        ),
    ],
)
def test_lists_of_many_forms(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_list(tmp_path / name) == PAIRS


def test_a_names_file_with_blank_lines_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcrane\r\nheron\r\n\r\n")
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name}0.jpg 0\n{name}1.jpg 1\n")
    source = Lists(".", {"train": "a.txt", "test": "b.txt"}, class_names_file="names.txt")
    images = source.load("train", tmp_path, 0)
    assert images is not None
    assert images.class_names == ["crane", "heron"]


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for place in (
            "cat/0.PNG",
            "cat/deep/er/1.png",
            'dog/\u00fc \u2028,".jpg',
            ".ipynb_checkpoints/0.png",
            "dog/.trash/0.png",
        ):
            path = tmp_path / split / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
        (tmp_path / split / "cat/._0.PNG").write_bytes(b"\0\5\x16\7")
    data = ImbalancedDataModule(Folder("."), root=str(tmp_path))
    data.setup()
    assert data.class_names == ["cat", "dog"]
    assert data.class_counts.tolist() == [2, 1]


class Samples:
    def __init__(self, image: Any, **attributes: Any) -> None:
        self.image = image
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        label = index % 4
        return self.image, self.target_transform(label) if hasattr(self, "target_transform") else label


def test_labels_are_those_that_the_samples_have_after_a_transform_of_the_targets() -> None:
    dataset = Samples(0, targets=[0, 1, 2, 3], target_transform=lambda label: label // 2)
    assert labels_of(dataset).tolist() == [0, 0, 1, 1]
    assert labels_of(Samples(0, targets=[0.0, 1.0, 1.0, 0.0])).tolist() == [0, 1, 1, 0]
    assert labels_of(Samples(0, labels=np.array([3, 2, 1, 0], dtype=np.uint8))).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_images_of_a_torch_dataset_may_be_arrays(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    dataset = Samples(image)
    data = ImbalancedDataModule(TorchDatasets(dataset, dataset), batch_size=4)
    data.setup()
    found = data.test_dataset[0][0]
    channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    torch.testing.assert_close(found, torch.from_numpy(channels_first / np.float32(255)))


def test_sixteen_bits_are_scaled_in_any_order_of_bytes(tmp_path: Path) -> None:
    values = np.array([[0, 256 * 77 + 5, 65535]], dtype=np.uint16)
    for mode, dtype in (("I;16", "<u2"), ("I;16B", ">u2")):
        file = tmp_path / f"{mode[-2:]}.tif"
        Image.frombytes(mode, (3, 1), values.astype(dtype).tobytes()).save(file)
        assert np.asarray(read_rgb(file))[0, :, 0].tolist() == [0, 77, 255]
