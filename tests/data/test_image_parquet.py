"""Image Parquet: columns, labels and names of classes, by the Hub's description or without; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from packed_data import COUNTS, description, rows_of, square, write_parquet
from pyarrow import parquet

from semscale_pl.data import image_parquet
from semscale_pl.data.image_parquet import ImageParquet
from semscale_pl.data.source import DataError, ImageSet


def loaded(root: Path, split: str = "train", **options: Any) -> ImageSet:
    images = ImageParquet("train.parquet", "test.parquet", **options).load(split, root, 0)
    assert images is not None
    return images


def write(root: Path, labels: list[Any], tested: list[Any] | None = None, **metadata: Any) -> None:
    for split, values in (("train", labels), ("test", labels if tested is None else tested)):
        rows = [(square(split, number), label) for number, label in enumerate(values)]
        write_parquet(root / f"{split}.parquet", rows, metadata.get(split))


def test_names_tell_row_and_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of("train"))
    write_parquet(tmp_path / "test.parquet", rows_of("test"), own_names=False)
    assert loaded(tmp_path).images.paths[9] == f"{tmp_path}/train.parquet/09-9.png"  # type: ignore[union-attr]
    assert loaded(tmp_path, "test").images.paths[3] == f"{tmp_path}/test.parquet/3"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([10, 9, 10], ["9", "10"], [1, 0, 1]),
        (["10", "9", "10"], ["9", "10"], [1, 0, 1]),
        ([True, False, True], ["0", "1"], [1, 0, 1]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["a", "b"], [1, 0, 1]),
    ],
)
def test_without_a_description_the_labels_are_the_classes(
    labels: Any, names: list[str], numbers: list[int], tmp_path: Path
) -> None:
    for split in COUNTS:
        images = [square(split, number) for number in range(3)]
        parquet.write_table(pa.table({"image": images, "label": labels}), tmp_path / f"{split}.parquet")
    images = loaded(tmp_path)
    assert (images.class_names, images.labels.tolist()) == (names, numbers)


def test_classes_of_any_split_count(tmp_path: Path) -> None:
    write(tmp_path, ["b", "c"], ["a", "b"])
    assert [loaded(tmp_path, split).labels.tolist() for split in COUNTS] == [[1, 2], [0, 1]]


def test_names_may_be_given_or_lie_beside(tmp_path: Path) -> None:
    write(tmp_path, [0, 2])
    assert loaded(tmp_path, class_names=["x", "y", "z"]).class_names == ["x", "y", "z"]
    (tmp_path / "classes.json").write_text('["u", "v", "w"]')
    assert loaded(tmp_path).class_names == ["u", "v", "w"]
    (tmp_path / "classes.json").write_text('{"u": 0}')
    with pytest.raises(DataError, match=r"a list of the classes' names in .*classes\.json"):
        loaded(tmp_path)
    write(tmp_path, ["z", "x"])
    assert loaded(tmp_path, class_names=["z", "y", "x"]).labels.tolist() == [0, 2]


def test_the_description_comes_first(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("x\ny\n")
    write(tmp_path, [1, 0], train=description(["cat", "dog"]))
    images = loaded(tmp_path)
    assert (images.class_names, images.labels.tolist()) == (["cat", "dog"], [1, 0])


def test_another_order_of_the_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [1, 0], train=description(["cat", "dog"]), test=description(["dog", "cat"]))
    with pytest.raises(DataError, match="same order, but got 'cat' and 'dog' for class 0"):
        loaded(tmp_path)
    write(tmp_path, [1, 0], train=description(["cat", "dog"]), test=description(["cat", "dog", "elk"]))
    with pytest.raises(DataError, match="same order, but got 2 and 3"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            [0, 2, 1],
            r"`label of .*train\.parquet` to be among 2 classes, by name or as 0\.\.1, but got 2 for .*/1-1",
        ),
        ([0, -1, -1], "of at least 0, but got -1 for 2 samples. Leave unlabelled samples out"),
        ([0, None, 1], r"1 of `label of .*train\.parquet` are NaN or infinite"),
        (["cat", None, "dog"], "1 samples have no class"),
        (["cat", "elk", "dog"], r"but got 'elk' for .*/1-1\.png \(1 such images\)"),
        ([0.5, 0.0, 1.0], "to be whole numbers or words, but got 0.5"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels: list[Any], said: str, tmp_path: Path) -> None:
    write(tmp_path, labels, labels[:1], train=description(["cat", "dog"]))
    with pytest.raises(DataError, match=said):
        loaded(tmp_path)


def test_other_columns_and_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [0, 1])
    with pytest.raises(
        DataError, match=r"column `picture` in .*, but got image, label\. Name others: dataset\.source\.image_"
    ):
        loaded(tmp_path, image_column="picture")
    with pytest.raises(DataError, match=r"column `y` in .*dataset\.source\.label_column"):
        loaded(tmp_path, label_column="y")
    with pytest.raises(DataError, match=r"column `label` .* to hold the bytes of image files, .* but got int64"):
        loaded(tmp_path, image_column="label")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"to be a Parquet file, but it cannot be read: .*Fetch it again"):
        loaded(tmp_path)


def test_a_row_without_bytes_is_a_broken_image(tmp_path: Path) -> None:
    rows = rows_of("train")
    write_parquet(tmp_path / "train.parquet", [*rows[:3], (None, 1)])
    write_parquet(tmp_path / "test.parquet", rows_of("test"))
    with pytest.raises(DataError, match=r"3-3.png to be an image, but it cannot be read: the row has no bytes"):
        loaded(tmp_path).images[3]


def test_a_row_group_that_no_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of("train"))
    write_parquet(tmp_path / "test.parquet", rows_of("test"))
    monkeypatch.setattr(image_parquet, "LARGEST_GROUP", 300)
    with pytest.raises(DataError, match=r"row groups of at most .* GiB in .*row_group_size=100"):
        loaded(tmp_path)


def test_large_row_groups_are_said_to_be_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, [0, 1])
    loaded(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(image_parquet, "KEPT_BYTES", 1)
    monkeypatch.setattr(image_parquet, "SLOW_GROUP", 1)
    loaded(tmp_path)
    assert "train.parquet: row groups of up to 0 MiB are read for one image" in capsys.readouterr().err


def test_few_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("train")
    write_parquet(tmp_path / "train.parquet", rows)
    write_parquet(tmp_path / "test.parquet", rows_of("test"))
    monkeypatch.setattr(image_parquet, "KEPT_BYTES", 1)
    images = loaded(tmp_path)
    pack = images.images.paths[0].pack  # type: ignore[union-attr]
    for number in np.random.default_rng(0).permutation(len(rows)).tolist():
        assert pack.read(number) == rows[number][0]
        assert len(pack._kept) == 1
