"""Broken images are named before training starts; whole ones are remembered until they change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semscale_pl.data import checking as image_check
from semscale_pl.data.checking import check_decodable, memory_of
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.decoding import Look
from semscale_pl.data.files import Folder
from semscale_pl.data.source import DataError

PER_CLASS = 70  # of two classes and two splits: enough to be remembered


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "mine" / split / name).mkdir(parents=True)
            for number in range(PER_CLASS):
                Image.fromarray(pixels).save(tmp_path / "mine" / split / name / f"{number:02}.jpg")
    return tmp_path


@pytest.fixture
def decoded_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    original = image_check.decoded

    def counted(paths: list[str]) -> Iterator[Look]:
        seen.extend(paths)
        return original(paths)

    monkeypatch.setattr(image_check, "decoded", counted)
    return seen


def data(root: Path, **options: object) -> ImbalancedDataModule:
    return ImbalancedDataModule(Folder("mine"), name="mine", root=str(root), **options)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_truncated_images_are_counted_and_named_before_training(root: Path) -> None:
    for number in range(4):
        truncate(root / f"mine/train/dog/{number:02}.jpg")
    with pytest.raises(DataError) as caught:
        data(root).setup()
    message = str(caught.value)
    assert "4 of 280 cannot be decoded" in message
    assert f"{root}/mine/train/dog/02.jpg (image file is truncated" in message
    assert "03.jpg" not in message
    assert all(part in message for part in (", ...", "Replace or remove", "data verify", "check_images=exist"))
    assert "\n" not in message


def test_whole_images_are_decoded_once_and_a_changed_one_again(root: Path, decoded_paths: list[str]) -> None:
    data(root).setup()
    assert len(decoded_paths) == len(set(decoded_paths)) == 4 * PER_CLASS
    assert memory_of("mine", root).is_file()
    decoded_paths.clear()
    data(root).setup()
    assert decoded_paths == []
    truncate(root / "mine/test/cat/07.jpg")
    for _ in range(2):  # a broken image is not remembered
        decoded_paths.clear()
        with pytest.raises(DataError, match=r"1 of 280 cannot be decoded: .*test/cat/07\.jpg"):
            data(root).setup()
        assert decoded_paths == [str(root / "mine/test/cat/07.jpg")]


def test_only_images_in_use_are_decoded(root: Path, decoded_paths: list[str]) -> None:
    module = data(root, imbalance="exponential", imbalance_factor=10.0)
    module.setup()
    assert len(decoded_paths) == PER_CLASS + PER_CLASS // 10 + 2 * PER_CLASS


@pytest.mark.parametrize("choice", ["exist", "none"])
def test_the_check_can_be_left_out(choice: str, root: Path, decoded_paths: list[str]) -> None:
    truncate(root / "mine/test/cat/07.jpg")
    data(root, check_images=choice).setup()
    assert decoded_paths == []
    assert not (root / "cache").exists()


def test_another_word_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="one of decode, exist, none, but got 'all'"):
        data(root, check_images="all")


def test_other_ranks_leave_the_check_to_the_first(
    root: Path, decoded_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semscale_pl.data.checking.rank_zero_only.rank", 1)
    data(root).setup()
    assert decoded_paths == []


def test_a_damaged_memory_is_made_anew(root: Path, decoded_paths: list[str]) -> None:
    memory = memory_of("mine", root)
    memory.parent.mkdir(parents=True)
    memory.write_bytes(b"\x93NUMPY nothing")
    data(root).setup()
    decoded_paths.clear()
    data(root).setup()
    assert decoded_paths == []


def test_a_cache_that_cannot_be_written_is_no_fault(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "cache").write_text("a file, not a folder")
    data(root).setup()
    assert "could not remember the checked images" in capsys.readouterr().err


def test_few_images_leave_no_file(root: Path) -> None:
    paths = [str(root / f"mine/test/cat/{number:02}.jpg") for number in range(9)]
    check_decodable(paths, root / "memory.npy")
    assert not (root / "memory.npy").exists()
    os.remove(paths[0])
    with pytest.raises(DataError, match=r"1 of 9 cannot be decoded: .*00\.jpg \(.*No such file"):
        check_decodable(paths)


def test_a_long_check_says_how_long_still(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr("semscale_pl.progress.time.monotonic", lambda: clock[0])

    def slowly(paths: Sequence[str]) -> Iterator[Look]:
        for path in paths:
            clock[0] += 2.0
            yield Look(path, "RGB")

    monkeypatch.setattr(image_check, "decoded", slowly)
    check_decodable([f"{number:02}" for number in range(100)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "semscale: decoded 2 of 100 images, about 3 min 16 s left"
    assert 5 <= len(lines) <= 12
