"""Images in larger files are what they are as files of their own: the same pixels, checks, workers and verdicts."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from packed_data import COUNTS, MAKERS, NAMES, as_folder, as_tar, rows_of, samples, square, write_tar
from PIL import Image

from semscale_pl.data.checking import missing_files
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.digest import images_digest
from semscale_pl.data.files import Folder
from semscale_pl.data.packed import PackedFile, opened
from semscale_pl.data.packed_source import PackedSource, expanded, found_files
from semscale_pl.data.source import DataError, DatasetNotFound
from semscale_pl.data.tar_shards import TarShards
from semscale_pl.data.verification import verify

Maker = Callable[..., PackedSource]


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> Maker:
    if request.param == "datasets" and importlib.util.find_spec("datasets") is None:
        pytest.skip("the extra hf is not installed")
    return MAKERS[request.param]


def data_of(source: PackedSource | Folder, root: Path, **options: object) -> ImbalancedDataModule:
    data = ImbalancedDataModule(source, root=str(root), batch_size=4, **options)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def batches(data: ImbalancedDataModule) -> list[torch.Tensor]:
    return [
        tensor for loader in (data.train_dataloader(), data.test_dataloader()) for each in loader for tensor in each
    ]


def test_pixels_labels_and_names_are_those_of_the_files(maker: Maker, tmp_path: Path) -> None:
    data = data_of(maker(tmp_path / "packed"), tmp_path / "packed")
    assert data.class_names == list(NAMES)
    for split, dataset in (("train", data.eval_train_dataset), ("test", data.test_dataset)):
        assert len(dataset) == COUNTS[split]
        for number, (content, label) in enumerate(rows_of(split)):
            image, found, _ = dataset[number]
            pixels = np.asarray(Image.open(io.BytesIO(content)), dtype=np.float32).transpose(2, 0, 1) / 255
            np.testing.assert_allclose(image.numpy(), pixels, atol=1e-6)
            assert int(found) == label


def test_every_class_has_the_images_that_a_folder_gives_it(maker: Maker, tmp_path: Path) -> None:
    packed = data_of(maker(tmp_path / "packed"), tmp_path / "packed")
    folder = data_of(Folder("."), as_folder(tmp_path / "folder"))
    for label in range(len(NAMES)):
        sums = [
            sorted(float(image.sum()) for image, own, _ in map(data.test_dataset.__getitem__, range(6)) if own == label)
            for data in (packed, folder)
        ]
        assert sums[0] == sums[1]


def test_workers_read_what_the_process_reads(maker: Maker, tmp_path: Path) -> None:
    source = maker(tmp_path)
    alone, shared = (data_of(source, tmp_path, num_workers=number, in_memory=False) for number in (0, 2))
    assert all(map(torch.equal, batches(alone), batches(shared)))


@pytest.mark.slow
def test_spawned_workers_read_what_the_process_reads(maker: Maker, tmp_path: Path) -> None:
    source = maker(tmp_path)
    alone, shared = (data_of(source, tmp_path, num_workers=number, in_memory=False) for number in (0, 1))
    shared.loader_options["multiprocessing_context"] = "spawn"
    assert all(map(torch.equal, batches(alone), batches(shared)))


def test_a_copy_by_pickle_reads_the_same_bytes(maker: Maker, tmp_path: Path) -> None:
    images = maker(tmp_path).load("train", tmp_path, 0)
    assert images is not None
    paths = images.images.paths  # type: ignore[union-attr]
    opened(paths[0]).read()  # nothing that is open goes along
    copies = pickle.loads(pickle.dumps(paths))
    assert copies == paths
    assert len({id(copy.pack) for copy in copies}) == 1
    assert [opened(copy).read() for copy in copies] == [content for content, _ in rows_of("train")]


def test_a_broken_image_is_refused_by_name_or_left_out(maker: Maker, tmp_path: Path) -> None:
    source = maker(tmp_path, broken=[7])
    name = source.load("train", tmp_path, 0).images.paths[7]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"1 of 18 cannot be decoded.*no known image format") as refused:
        data_of(source, tmp_path)
    assert name in str(refused.value)
    data = data_of(source, tmp_path, on_bad_image="skip")
    assert data.skipped_images == {"training": 1, "test": 0}
    assert data.class_counts.tolist() == [4, 3, 4]
    report = verify(ImbalancedDataModule(source, root=str(tmp_path)))
    assert report.bad_images == [(name, "no known image format")]


def test_verify_finds_a_whole_copy_right(maker: Maker, tmp_path: Path) -> None:
    report = verify(ImbalancedDataModule(maker(tmp_path), root=str(tmp_path)))
    assert report.ok
    assert {entry.what: entry.found for entry in report.findings} == {
        "train": "12 images, 4 a class",
        "test": "6 images, 2 a class",
        "classes": "3",
        "image files": "18",
        "decodable": "18",
    }


def test_a_share_of_the_training_images_is_trained_on(maker: Maker, tmp_path: Path) -> None:
    source = maker(tmp_path)
    source.train_fraction, source.splits = 0.5, {"train": source.splits["train"]}
    data = data_of(source, tmp_path)
    parts = [set(data.train_dataset.images.paths), set(data.test_dataset.images.paths)]  # type: ignore[union-attr]
    assert [len(part) for part in parts] == [6, 6]
    assert not parts[0] & parts[1]
    assert data.class_counts.tolist() == [2, 2, 2]


def test_one_file_for_both_splits_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "all.tar", samples(rows_of("train")))
    os.symlink(tmp_path / "all.tar", tmp_path / "other.tar")
    with pytest.raises(DataError, match=r"share no image, but 12 are in both.*other.tar/000000.png"):
        data_of(TarShards("all.tar", "other.tar"), tmp_path)


def test_a_changed_file_is_another_dataset_and_a_moved_one_is_not(maker: Maker, tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return images_digest({"train": data_of(source, root).train_dataset})

    source = maker(tmp_path / "here")
    before = digest(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert digest(tmp_path / "there") == before
    for file in (file for file in (tmp_path / "there").rglob("*") if file.is_file()):
        os.utime(file, (1, 1))
    source._opened.clear()
    assert digest(tmp_path / "there") != before


def test_images_are_turned_by_their_tag(tmp_path: Path) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 8)).save(stream, "JPEG", exif=exif)
    rows = [(stream.getvalue(), "cat"), (stream.getvalue(), "dog")]
    for split in COUNTS:
        write_tar(tmp_path / f"{split}.tar", samples(rows))
    for turned, shape in ((False, (3, 8, 4)), (True, (3, 4, 8))):
        data = data_of(TarShards("train.tar", "test.tar"), tmp_path, exif_rotation=turned)
        assert data.train_dataset[0][0].shape == shape


def test_files_that_are_gone_are_missing(tmp_path: Path) -> None:
    images = as_tar(tmp_path).load("test", tmp_path, 0)
    assert images is not None
    paths = images.images.paths  # type: ignore[union-attr]
    assert missing_files(paths) == []
    (tmp_path / "test-0001.tar").unlink()
    assert missing_files(paths) == paths
    with pytest.raises(DatasetNotFound, match=r"Image .*test-0001.tar/000005.png was not found"):
        images.images[5]


def test_braces_name_every_shard(tmp_path: Path) -> None:
    assert expanded("{a,b{1..2}}-{098..101}.tar")[:5] == [
        f"{name}.tar" for name in ("a-098", "a-099", "a-100", "a-101")
    ] + ["b1-098.tar"]
    (tmp_path / "x-1.tar").touch()
    with pytest.raises(DatasetNotFound, match=r"train images in x-\{1\.\.3\}\.tar, but 2 such files .*x-2\.tar"):
        found_files("x-{1..3}.tar", tmp_path, ".tar", "train")
    with pytest.raises(DatasetNotFound, match=r"but there are none in .*dataset\.source\.train_fraction=0\.8"):
        found_files("y*.tar", tmp_path, ".tar", "test")
    assert found_files([".", "x*.tar", str(tmp_path / "x-?.tar")], tmp_path, ".tar", "train") == [tmp_path / "x-1.tar"]


def test_a_name_is_a_path_that_reads_itself() -> None:
    class Pack:
        files: list[str] = []  # noqa: RUF012
        state = "1 2"

        def read(self, number: int) -> bytes:
            return square("train", number)

    path = PackedFile("a.tar/b.png", Pack(), 3)
    assert path == "a.tar/b.png"
    assert hash(path) == hash("a.tar/b.png")
    assert opened(path).read() == square("train", 3)
    assert opened("c.png") == "c.png"
