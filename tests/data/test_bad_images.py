"""Broken images that are left out, tags that say how a camera was held, and what else decoding an image shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.data import checking
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.decoding import decoded, read_rgb
from semscale_pl.data.files import Folder
from semscale_pl.data.lists import Lists
from semscale_pl.data.source import DataError
from semscale_pl.data.wrapped import Balanced

SIZES = {"cat": 5, "dog": 3}


def folders(root: Path) -> Path:
    """Write two classes; each image has a grey of its own."""
    for split in ("train", "test"):
        for row, (name, size) in enumerate(SIZES.items()):
            for number in range(size):
                path = root / "mine" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 100 * row + 10 * number).save(path)
    return root / "mine"


def data(root: Path, **options: object) -> ImbalancedDataModule:
    return ImbalancedDataModule(Folder("mine"), root=str(root), batch_size=4, channels=1, **options)


def greys(module: ImbalancedDataModule) -> list[int]:
    return [round(float(module.eval_train_dataset[row][0].mean()) * 255) for row in range(module.train_size)]


def test_a_skipped_image_is_named_and_neither_counted_nor_numbered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders(tmp_path)
    (folder / "train/cat/1.png").write_bytes(b"")
    (folder / "test/dog/2.png").write_bytes(b"broken")
    module = data(tmp_path, on_bad_image="skip")
    module.setup()
    line = capsys.readouterr().err
    assert "skipped 2 of 16 images that cannot be decoded" in line
    assert "train/cat/1.png (no known image format)" in line
    assert module.class_counts.tolist() == [4, 3]
    assert (module.train_size, len(module.train_dataset), len(module.test_dataset)) == (7, 7, 7)
    assert module.skipped_images == {"training": 1, "test": 1}
    assert greys(module) == [0, 20, 30, 40, 100, 110, 120]
    rows = torch.cat([indices for *_, indices in module.train_dataloader()])
    assert sorted(rows.tolist()) == list(range(7))


def test_other_ranks_skip_the_same_images_and_the_subset_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders(tmp_path)
    whole = data(tmp_path, on_bad_image="skip")
    whole.setup()
    (folder / "train/dog/0.png").write_bytes(b"")
    first = data(tmp_path, on_bad_image="skip")
    first.setup()
    capsys.readouterr()
    monkeypatch.setattr(checking.rank_zero_only, "rank", 1)
    second = data(tmp_path, on_bad_image="skip")
    second.setup()
    assert capsys.readouterr().err == ""
    assert first.index_hash == second.index_hash != whole.index_hash
    assert greys(first) == greys(second)
    state = {**first.state_dict(), "class_names": ["dog", "cat"]}
    with pytest.raises(DataError, match="class 0 is 'cat' in the data and was 'dog' in training"):
        first.load_state_dict(state)
    first.load_state_dict({"epoch": 0, "index_hash": first.index_hash})  # of an earlier version
    # A run cannot go on where other images can be read than before.
    with pytest.raises(ValueError, match="training subset"):
        first.load_state_dict(whole.state_dict())


def test_ranks_that_read_different_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders(tmp_path)
    monkeypatch.setattr("semscale_pl.data.datamodule.from_all_ranks", lambda mine: [mine, ("other", {"test": 1})])
    with pytest.raises(DataError, match="all ranks to read the same images"):
        data(tmp_path, on_bad_image="skip").setup()


def test_a_class_without_a_readable_image_ends_the_run(tmp_path: Path) -> None:
    folder = folders(tmp_path)
    for number in range(3):
        (folder / f"train/dog/{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"readable image in the training part, .*\(dog\)"):
        data(tmp_path, on_bad_image="skip").setup()


def test_a_carved_validation_part_and_a_balanced_source_skip_too(tmp_path: Path) -> None:
    folder = folders(tmp_path)
    for number in range(4):
        (folder / f"train/cat/{number}.png").write_bytes(b"")
    module = data(tmp_path, on_bad_image="skip", validation_fraction=0.4)
    module.setup()
    assert module.val_dataset is not None
    assert module.skipped_images["training"] + module.skipped_images["validation"] == 4
    source = Balanced(Folder("mine"))
    for seed in range(20):  # until the one readable cat is among the chosen
        module = ImbalancedDataModule(source, root=str(tmp_path), on_bad_image="skip", subset_seed=seed, image_size=8)
        try:
            module.setup()
        except DataError:
            continue
        assert module.class_counts.tolist() == [1, 3]
        return
    pytest.fail("no subset has the readable image")


def test_measure_skips_or_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folders(tmp_path) / "train"
    (folder / "cat/1.png").write_bytes(b"")
    call = ["measure", f"images={folder}", "image_size=4", "out=out", "report=false", "figures=false"]
    assert main(call) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 of 8 cannot be decoded" in line
    assert "on_bad_image=skip leaves them out" in line
    assert "dataset." not in line
    assert main([*call, "on_bad_image=skip"]) == 0
    record = json.loads(Path("out/scales.json").read_text())
    assert record["counts"] == [4, 3]
    assert record["source"]["skipped_images"] == 1
    assert record["source"]["exif_rotation"] is True
    own = ["dataset=image_folder", f"dataset.root={tmp_path}", "dataset.source.folder=mine"]
    assert main(["measure", *own, "image_size=4", "on_bad_image=skip", "exif_rotation=false", *call[3:]]) == 0
    record = json.loads(Path("out/scales.json").read_text())
    assert (record["counts"], record["source"]["exif_rotation"]) == ([4, 3], False)
    assert main(["measure", "features=x.npz", "on_bad_image=skip"]) == 2


def tagged(path: Path, orientation: int) -> Path:
    """Write an image that is wide, white on its left half, and tagged."""
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255
    tag = Image.Exif()
    tag[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=tag)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_a_tagged_image_is_turned_where_that_is_asked_for(suffix: str, tmp_path: Path) -> None:
    path = tagged(tmp_path / f"x.{suffix}", 6)
    assert read_rgb(path).size == (16, 8)
    turned = read_rgb(path, upright=True)
    assert turned.size == (8, 16)
    assert np.asarray(turned)[:, :, 0].mean(1).round(-2).tolist() == [300.0] * 8 + [0.0] * 8  # of 255 and 0
    assert [look.turned for look in decoded([str(path), str(tagged(tmp_path / "y.png", 1))])] == [True, False]


def test_own_folders_and_lists_are_turned_and_benchmarks_left_as_they_are(tmp_path: Path) -> None:
    files = (config_dir() / "dataset").glob("*.yaml")
    found = {file.stem: OmegaConf.load(file).get("exif_rotation") for file in files}
    assert found.pop("base") is False
    own = {"csv", "image_folder", "parquet_images", "webdataset", "hf"}
    assert {name for name, turned in found.items() if turned} == own
    for name in "ab":
        tagged(tmp_path / "images" / f"{name}.png", 8)
    (tmp_path / "train.txt").write_text("a.png 0\nb.png 1\n")
    lists = Lists("images", {"train": "train.txt", "test": "train.txt"})
    for asked, shape in ((True, (16, 8)), (False, (8, 16))):
        module = ImbalancedDataModule(lists, root=str(tmp_path), exif_rotation=asked)
        images = module._load("train").images
        assert np.asarray(images[0]).shape[:2] == shape


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tagged_tiff_is_turned_where_that_is_asked_for_though_pillow_always_does(
    orientation: int, compression: str | None, tmp_path: Path
) -> None:
    pixels, tag = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3), Image.Exif()
    tag[0x0112] = orientation
    for name in ("x.tif", "x.png"):
        Image.fromarray(pixels).save(tmp_path / name, exif=tag, compression=compression)
    stored, turned = (read_rgb(tmp_path / "x.tif", upright=asked) for asked in (False, True))
    np.testing.assert_array_equal(np.asarray(stored), pixels)
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(read_rgb(tmp_path / "x.png", upright=True)))
    assert next(decoded([str(tmp_path / "x.tif")])).turned is (orientation > 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (200, 7)])
def test_small_jpegs_are_whole(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "x.jpg")
    assert next(decoded([str(tmp_path / "x.jpg")])).problem == ""


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_tag_leaves_the_image_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("RGB", (16, 8)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_rgb(path, upright=True).size == (16, 8)
    assert next(decoded([str(path)])).problem == ""


def test_twelve_bits_in_sixteen_are_said_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([[0, 4095], [2048, 7]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    Image.fromarray(values * 16).save(tmp_path / "y.png")
    assert checking.broken_images([str(tmp_path / "x.png"), str(tmp_path / "y.png")]) == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 image of 16 bits holds no number above 4,095" in line
    assert "x.png" in line


def test_greymaps_of_sixteen_bits_are_read_like_other_formats(tmp_path: Path) -> None:
    header = b"P5 3 1 65535\n"
    (tmp_path / "x.pgm").write_bytes(header + np.array([0, 256 * 77 + 5, 65535], dtype=">u2").tobytes())
    assert np.asarray(read_rgb(tmp_path / "x.pgm"))[0, :, 0].tolist() == [0, 77, 255]


def test_verify_counts_tags_films_and_twelve_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    folder = folders(tmp_path)
    tagged(folder / "train/cat/tagged.jpg", 3)
    frames = [Image.new("L", (8, 8), 200 * number) for number in range(2)]
    frames[0].save(folder / "train/dog/film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(folder / "test/dog/dark.png")
    (folder / "test/dog/again.png").symlink_to(folder / "test/dog/0.png")
    call = ["data", "verify", "dataset=image_folder", f"dataset.root={tmp_path}", "dataset.source.folder=mine"]
    assert main(call) == 0
    out = capsys.readouterr().out
    for part in ("1 image with a tag: turned by it", "1 image: the first is read", "1 with 12 bits: nearly black"):
        assert part in out
    assert "1 images are there more than once, by links" in out
    assert "Multiply the pixels by 16" in out
    assert main([*call, "dataset.exif_rotation=false"]) == 0
    assert "left as they are" in capsys.readouterr().out
