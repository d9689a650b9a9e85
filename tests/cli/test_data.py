"""`semscale data verify`: its table, its lines and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from semscale_pl.cli.data import main


def folders(root: Path) -> Path:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(2):
                path = root / "mine" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8)).save(path)
    return root / "mine"


def call(root: Path, *more: str) -> int:
    return main(["verify", "dataset=image_folder", f"dataset.root={root}", "dataset.source.folder=mine", *more])


def test_all_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(tmp_path)
    assert call(tmp_path) == 0
    out = capsys.readouterr().out
    assert "4 images, 2 a class" in out
    assert "All is there and right." in out


def test_digits_have_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "dataset=digits_lt"]) == 0
    assert "1,797 images" in capsys.readouterr().out


def test_broken_images_are_listed_with_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folders(tmp_path)
    (folder / "train/cat/0.png").write_text("no image")
    (folder / "test/dog/1.png").write_bytes(b"")
    Image.new("L", (8, 8)).save(folder / "test/dog/0.png")
    assert call(tmp_path) == 1
    out = capsys.readouterr().out
    assert "2 images are missing or cannot be decoded:" in out
    assert f"{folder / 'train/cat/0.png'}: no known image format\n" in out
    assert "1 L: read as RGB" in out
    assert call(tmp_path, "decode=false") == 0


def test_overlap_and_wrong_classes_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(tmp_path)
    assert call(tmp_path, "dataset.source.test=train", "dataset.num_classes=3") == 1
    out = capsys.readouterr().out
    assert "share no image, but 4 are in both" in out
    assert "wrong" in out


@pytest.mark.parametrize("name", ["imagenet_lt", "places_lt", "inaturalist2018", "rsscn7", "cifar10", "oia_odir_b"])
def test_an_absent_dataset_is_one_line_that_says_where_to_get_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", f"dataset={name}", f"dataset.root={tmp_path}"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "SEMSCALE_DATA" in line]
    assert len(lines) == 1
    assert "http" in lines[0]
    assert str(tmp_path) in lines[0]


def test_lists_are_counted_where_the_images_are_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        path = tmp_path / f"lists/lt-splits/Places_LT_{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a.jpg 0\nb.jpg 0\nc.jpg 1\n")
    assert main(["verify", "dataset=places_lt", f"dataset.root={tmp_path}"]) == 1
    out = capsys.readouterr().out
    assert "3 images, 2 classes of 1 to 2" in " ".join(out.split())
    assert "another edition" in " ".join(out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("verfy dataset=mnist", "Did you mean `verify`"),
        ("verify", "imagenet_lt"),
        ("verify mnist", "KEY=VALUE"),
        ("verify dataset=mnits", "mnist"),
        ("verify dataset=mnist decode=maybe", "`decode`"),
        ("verify dataset=mnist dataset.rot=x", "dataset.root"),
        ("verify dataset=torch_datasets", "_target_"),
        ("verify dataset=digits imbalance_factor=0.5", "imbalance_factor"),
    ],
)
def test_wrong_calls(arguments: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert part in err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "semscale data verify" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("cifar100", ("train 50,000 images missing wrong", "test 10,000 images missing wrong")),
        ("imagenet", ("train 1,281,167 images missing wrong",)),
        ("nwpu_resisc45", ("all 31,500 images missing wrong",)),
        ("imagenet_lt", ("ImageNet_LT_train.txt a list of 115,846 images missing wrong",)),
        ("mini_imagenet", ("train.csv a list missing wrong", "all lists 60,000 images incomplete wrong")),
    ],
)
def test_an_absent_dataset_shows_what_a_whole_one_would_hold(
    name: str,
    rows: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["verify", f"dataset={name}", f"dataset.root={tmp_path}"]) == 1
    lines = [" ".join(line.replace("\u2502", " ").split()) for line in capsys.readouterr().out.splitlines()]
    assert all(row in lines for row in rows), lines


def test_all_missing_things_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "dataset=csv", f"dataset.root={tmp_path}"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "were not found" in line]
    assert all(str(tmp_path / name) in line for name in ("train.csv", "test.csv", "images"))
    assert "None" not in line
    assert "Put them there (dataset.root" in line


def test_labels_that_are_words_are_a_problem_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    words = "tests.cli.test_data.Words"
    call = ["dataset=torch_datasets", f"dataset.source.train._target_={words}", f"dataset.source.test._target_={words}"]
    assert main(["verify", *call]) == 1
    assert "class numbers, but the first is 'cat'" in capsys.readouterr().out


class Words:
    """Two images with words for labels."""

    targets = ("cat", "dog")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[int, str]:
        return 0, self.targets[index]
