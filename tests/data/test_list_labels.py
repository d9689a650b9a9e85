"""Labels and names of files in lists: numbered as they occur, and one spelling for one class and one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.utils import instantiate
from PIL import Image

from semscale_pl.config.checks import composed as composed_config
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.lists import Lists, numbered, read_list
from semscale_pl.data.source import DataError

LISTS = {"train": "train.csv", "test": "test.csv"}


def built(root: Path, train: list[str], test: list[str] | None = None, **options: object) -> ImbalancedDataModule:
    """Write lists of these labels and their images, and read them."""
    for split, labels in (("train", train), ("test", train if test is None else test)):
        rows = [(f"{split}{row}.png", label) for row, label in enumerate(labels)]
        for name, _ in rows:
            (root / "images").mkdir(exist_ok=True)
            Image.new("RGB", (4, 4)).save(root / "images" / name)
        (root / f"{split}.csv").write_text("filename,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    data = ImbalancedDataModule(Lists("images", LISTS, **options), root=str(root))
    data.setup()
    return data


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["3", "1", "2", "10"], ["1", "2", "3", "10"]),
        (["5", "70", "900"], ["5", "70", "900"]),
        (["001", "010", "002"], ["001", "002", "010"]),
        (["1_0", "1_1"], ["1_0", "1_1"]),
        (["2e1", "1e1"], ["1e1", "2e1"]),
        (["1.1", "1.0"], ["1.0", "1.1"]),
        (["A", "10", "9"], ["10", "9", "A"]),
        (["99999999999", "7"], ["7", "99999999999"]),
        (["cat", "Cat"], ["Cat", "cat"]),
        (["dog ", "cat"], ["cat", "dog"]),
    ],
)
def test_labels_that_occur_are_numbered(labels: list[str], names: list[str], tmp_path: Path) -> None:
    data = built(tmp_path, labels)
    assert data.class_names == names
    assert data.class_counts.tolist() == [1] * len(names)
    assert [names[label] for label in data.train_dataset.labels] == [label.strip() for label in labels]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0", "1"}, {"0": 0, "1": 1, "2": 2}),
        ({"1", "2", "3"}, {"1": 0, "2": 1, "3": 2}),
        ({"5", "70", "900"}, {"5": 0, "70": 1, "900": 2}),
        ({"1", "3"}, {"1": 0, "2": 1, "3": 2}),
        ({"0", "2"}, {"0": 0, "1": 1, "2": 2}),
        ({"cat", "owl"}, {"cat": 0, "dog": 1, "owl": 2}),
    ],
)
def test_names_of_numbered_classes(labels: set[str], expected: dict[str, int]) -> None:
    assert numbered(labels, ["cat", "dog", "owl"]) == expected


def test_names_are_given_as_a_list_or_a_file(tmp_path: Path) -> None:
    assert built(tmp_path, ["1", "2"], class_names=["cat", " dog "]).class_names == ["cat", "dog"]
    (tmp_path / "names.txt").write_text("\ufeffn1 cat\nn2 dog\n")
    for labels in (["0", "1"], ["1", "2"], ["n1", "n2"], ["cat", "dog"]):
        data = built(tmp_path, labels, class_names_file="names.txt")
        assert (data.class_names, data.train_dataset.labels.tolist()) == (["cat", "dog"], [0, 1])
    with pytest.raises(DataError, match="among 2 classes, but got '3'"):
        built(tmp_path, ["1", "3", "4"], class_names=["cat", "dog"])


@pytest.mark.parametrize("given", ["class_names=[cat,dog]", "class_names_file=names.txt"])
def test_names_are_given_on_the_command_line(given: str, tmp_path: Path) -> None:
    built(tmp_path, ["1", "10"])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    cfg = composed_config(["dataset=csv", f"dataset.root={tmp_path}", f"dataset.source.{given}"])
    data = instantiate(cfg.dataset)
    data.setup()
    assert (data.class_names, data.train_dataset.labels.tolist()) == (["cat", "dog"], [0, 1])


def test_a_class_of_one_list_alone_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = built(tmp_path, ["1", "2", "3"], ["1", "3"])
    assert data.class_names == ["1", "2", "3"]
    assert data.test_dataset.labels.tolist() == [0, 2]
    assert "the test part has no image of 1 of 3 classes (2)" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"1 of 3 have none \(2\)"):
        built(tmp_path, ["1", "3"], ["2"])


@pytest.mark.parametrize("other", ["./a.png", "x/../a.png", "x//..//./a.png"])
def test_one_file_has_one_name(other: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"a.png 0\n{other} 0\n")
    with pytest.raises(DataError, match="are one file, named twice"):
        read_list(tmp_path / "a.txt")


@pytest.mark.parametrize(("on_disk", "listed"), [("a\u0308.png", "\u00e4.png"), ("\u00e4.png", "a\u0308.png")])
def test_accents_are_found_in_either_form(on_disk: str, listed: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in (on_disk, "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / name)
    (tmp_path / "train.csv").write_text(f"filename,label\n{listed},Kr\u00e4he\nb.png,Star\n")
    names = ["Star", "Kra\u0308he"]
    images = Lists("images", {"train": "train.csv", "test": "train.csv"}, class_names=names).load("train", tmp_path, 0)
    assert images is not None
    assert images.class_names == ["Star", "Kr\u00e4he"]
    assert images.images[0].size == (4, 4)
    (tmp_path / "train.csv").write_text(f"filename,label\n{listed},x\n{on_disk},y\n")
    with pytest.raises(DataError, match="are one file"):
        read_list(tmp_path / "train.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", "# made by hand\na b.png 0\n#1.png 1\n"),
        ("x.txt", '"a b.png" 0\n"#1.png" 1\n'),
        ("x.txt", "a b.png\t0\n\n#1.png\t1\n"),
        ("x.csv", "# made by hand\n\nfilename,label\na b.png,0\n#1.png,1\n"),
        ("x.csv", 'filename,label\n"a b.png","0"\n#1.png,1 \n'),
    ],
)
def test_comments_and_quotes(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert read_list(tmp_path / name) == [("a b.png", "0"), ("#1.png", "1")]


def test_words_with_blanks_after_a_tab_and_lines_of_unicode(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a b.png\tgreat cat\nc\u2028d.png\tdog\n")
    assert read_list(tmp_path / "x.txt") == [("a b.png", "great cat"), ("c\u2028d.png", "dog")]


def test_backslashes_of_windows(tmp_path: Path) -> None:
    (tmp_path / "images/cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "images/cat/0.png")
    (tmp_path / "x.txt").write_text("cat\\0.png 0\n")
    images = Lists("images", {"train": "x.txt", "test": "x.txt"}).load("train", tmp_path, 0)
    assert images is not None
    assert images.images[0].size == (4, 4)
