"""Which files are images: every suffix that Pillow reads, links and their loops, and what is passed over by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.data import finding
from semscale_pl.data.checking import missing_files, places
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.errors import DataError
from semscale_pl.data.files import Folder, ImageFiles, class_folders
from semscale_pl.data.finding import find_images, image_suffixes, look_through
from semscale_pl.training.run import train

NUMBERS = np.random.default_rng(0)


def picture(path: Path, format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NUMBERS.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(path, format)
    return path


def four_classes(root: Path) -> Path:
    """Write cats as .jpg, dogs as .jpg and .jfif, foxes as .JPG beside broken .heic, owls as .jfif alone."""
    names = {"cat": ["jpg"] * 8, "dog": ["jpg"] * 2 + ["jfif"] * 6, "fox": ["JPG"] * 5, "owl": ["jfif"] * 5}
    for name, suffixes in names.items():
        for number, suffix in enumerate(suffixes):
            picture(root / name / f"{number}.{suffix}", "JPEG")
    for number in range(5):
        (root / "fox" / f"{number}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "cat/Thumbs.db").write_bytes(b"of the system")
    (root / "cat/.DS_Store").write_bytes(b"of the system")
    return root


SAID = "passed over 5 files that cannot be used: fox 5 (.heic)"


def test_every_command_reads_jfif_and_names_what_it_passes_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = four_classes(tmp_path / "zoo")
    assert main(["measure", f"images={folder}", "image_size=4", "out=out", "report=false", "figures=false"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"semscale: {SAID}"]
    assert '"counts": [\n    8,\n    8,\n    5,\n    5\n  ]' in Path("out/scales.json").read_text()
    own = ["dataset=image_folder", f"dataset.root={folder}", "dataset.source.train_fraction=0.5"]
    assert main(["data", "verify", *own]) == 0
    assert SAID in capsys.readouterr().out
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        small = ["backbone=small_cnn", "dataset.image_size=8", "trainer.max_epochs=1"]
        result = train(compose("train", overrides=[*own, *small]), tmp_path / "run")
    assert capsys.readouterr().err.count(f"semscale: {SAID}\n") == 1
    assert result.datamodule.class_names == ["cat", "dog", "fox", "owl"]
    assert result.datamodule.class_counts.tolist() == [4, 4, 2, 2]
    ckpt = tmp_path / "run/checkpoints/last.ckpt"
    assert main(["predict", f"ckpt={ckpt}", f"images={folder}", "hydra.run.dir=predicted"]) == 0
    assert capsys.readouterr().err == f"semscale: {SAID}\n"


@pytest.mark.parametrize(
    "suffix", ["JPG", "jfif", "jpe", "png", "apng", "avif", "webp", "jp2", "tga", "qoi", "ppm", "ico"]
)
def test_what_pillow_opens_is_an_image(suffix: str, tmp_path: Path) -> None:
    path = picture(tmp_path / f"cat/x.{suffix}", "JPEG" if suffix == "JPG" else None)
    assert look_through(tmp_path) == ([path], [])
    assert ImageFiles([path])[0].mode == "RGB"


def test_documents_films_and_numbers_are_no_images() -> None:
    assert not {".pdf", ".eps", ".mpg", ".h5", ".heic", ".txt", ""} & set(image_suffixes())


@pytest.mark.parametrize("remains", [["notes.heic"], []])
def test_a_class_left_without_an_image_does_not_vanish(remains: list[str], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "0.png")
        (tmp_path / split / "fox").mkdir()
        for name in remains:
            (tmp_path / split / "fox" / name).touch()
    said = "fox 1 (.heic)" if remains else "fox"
    data = ImbalancedDataModule(Folder("."), root=str(tmp_path))
    with pytest.raises(DataError, match="1 of 3 have none") as caught:
        data.setup()
    assert said in str(caught.value)
    with pytest.raises(DataError, match="'fox' has none") as caught:
        class_folders(tmp_path)
    assert said in str(caught.value)


def test_a_class_without_a_test_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png"):
        picture(tmp_path / place)
    (tmp_path / "test/dog").mkdir()
    ImbalancedDataModule(Folder("."), root=str(tmp_path)).setup()
    assert "the test part has no image of 1 of 2 classes (dog)" in capsys.readouterr().err


def test_images_beside_the_class_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "stray.png"):
        picture(tmp_path / place)
    (tmp_path / "README.md").touch()
    (tmp_path / "owl").symlink_to(tmp_path / "nowhere")
    ImbalancedDataModule(Folder(".", 0.5), root=str(tmp_path)).setup()
    assert "passed over 2 files that cannot be used: beside the class folders 2" in capsys.readouterr().err


def test_links_to_folders_and_files_are_followed_and_loops_end(tmp_path: Path) -> None:
    store, root = tmp_path / "store", tmp_path / "zoo"
    picture(store / "cats/deep/0.png")
    picture(store / "1.png")
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(store / "cats")
    (root / "dog/more").symlink_to(store)
    (root / "dog/1.png").symlink_to(store / "1.png")
    (root / "again").symlink_to(root)
    (store / "cats/deep/up").symlink_to(store / "cats")
    (store / "itself").symlink_to(store / "itself")
    (store / "back").symlink_to(root / "dog")
    images = class_folders(root)
    assert images.class_names == ["cat", "dog"]
    found = [os.path.relpath(path, root) for path in images.images.paths]
    assert found == ["cat/deep/0.png", "dog/1.png", "dog/more/1.png", "dog/more/cats/deep/0.png"]
    # `predict` has no classes and meets the same files.
    assert {os.path.relpath(path, root) for path in find_images(root)} >= set(found)


def test_a_link_to_nothing_is_a_missing_image(tmp_path: Path) -> None:
    there, gone = picture(tmp_path / "0.png"), tmp_path / "1.png"
    gone.symlink_to(tmp_path / "nowhere.png")
    assert missing_files([str(there), str(gone)]) == [str(gone)]


def test_links_from_train_to_test_are_found(tmp_path: Path) -> None:
    for place in ("train/cat/0.png", "train/dog/0.png", "test/cat/1.png"):
        picture(tmp_path / place)
    (tmp_path / "test/dog").symlink_to(tmp_path / "train/dog")
    with pytest.raises(DataError, match=r"share no image, but 1 are in both, for example .*dog/0\.png"):
        ImbalancedDataModule(Folder("."), root=str(tmp_path)).setup()


def test_a_file_has_one_place_whatever_it_is_called(tmp_path: Path) -> None:
    path = picture(tmp_path / "a/0.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a/1.png").symlink_to(path)
    names = [f"{tmp_path}/{name}" for name in ("a/0.png", "a/../b/0.png", "a/1.png", "./b/1.png")]
    assert set(places(names)) == {str(path)}


def test_names_that_break_lines_are_escaped_and_read(tmp_path: Path) -> None:
    names = ["a\nb.png", 'c,"d".png', "\U0001f98a.png", "e .png"]
    for number, name in enumerate(names):
        picture(tmp_path / ("fox" if number else "c\nat") / name)
    assert sorted(path.name for path in find_images(tmp_path)) == sorted(names)
    assert "\n" not in finding.describe({"c\nat": [Path("x.a\nb")]})


def test_accents_composed_and_apart_are_one_class(tmp_path: Path) -> None:
    picture(tmp_path / "train/Kr\u00e4he/0.png")
    picture(tmp_path / "train/Kra\u0308he/1.png")
    picture(tmp_path / "test/Kra\u0308he/2.png")
    for split in ("train", "test"):
        picture(tmp_path / split / "Star/0.png")
    data = ImbalancedDataModule(Folder("."), root=str(tmp_path))
    data.setup()
    assert data.class_names == ["Kr\u00e4he", "Star"]
    assert data.class_counts.tolist() == [2, 1]


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "cat/0.png")
    scandir: Any = os.scandir

    def forbidding(path: Any) -> Any:  # the tests may run as root, whom nothing is forbidden
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(DataError, match=r"read the folder .*cat, but got: Permission denied"):
        find_images(tmp_path)
