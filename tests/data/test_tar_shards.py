"""Tar shards: where image and label of a sample are, labels as text and JSON, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from packed_data import NAMES, as_tar, samples, square, write_tar

from semscale_pl.data import tar_index
from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.data.tar_index import members_of
from semscale_pl.data.tar_shards import TarShards


def png(number: int) -> bytes:
    return square("train", number)


def loaded(root: Path, members: list[tuple[str, bytes]], **options: Any) -> ImageSet:
    write_tar(root / "train.tar", members)
    write_tar(root / "test.tar", [("0.png", png(9)), *((f"0.{name.partition('.')[2]}", c) for name, c in members[1:2])])
    images = TarShards("train.tar", "test.tar", **options).load("train", root, 0)
    assert images is not None
    return images


def test_labels_are_text_or_a_field_of_json(tmp_path: Path) -> None:
    def labels(key: str, *values: Any, **options: Any) -> tuple[list[str], list[int]]:
        texts = [json.dumps(value) if key == "json" else str(value) for value in values]
        members = [
            m for n, text in enumerate(texts) for m in ((f"{n}.png", png(n)), (f"{n}.{key}", f"{text}\n".encode()))
        ]
        found = loaded(tmp_path, members, **options)
        return found.class_names, found.labels.tolist()

    assert labels("cls", 7, 11, 7) == (["7", "11"], [0, 1, 0])
    assert labels("txt", "dog", "cat", "dog") == (["cat", "dog"], [1, 0, 1])
    assert labels("json", {"label": 1}, {"label": 0}) == (["0", "1"], [1, 0])
    assert labels("json", {"kind": "b"}, {"kind": "a"}, label_field="kind") == (["a", "b"], [1, 0])
    assert labels("json", 3, 2) == (["2", "3"], [1, 0])


def test_names_are_those_of_the_members(tmp_path: Path) -> None:
    members = [("a/b.X.PNG", png(0)), ("a/b.cls", b"0"), ("a/c.X.PNG", png(1)), ("a/c.cls", b"1")]
    images = loaded(tmp_path, members)
    assert images.images.paths == [f"{tmp_path}/train.tar/a/{name}.X.PNG" for name in "bc"]  # type: ignore[union-attr]


def test_one_of_several_images_is_chosen(tmp_path: Path) -> None:
    members = [
        m for n in (0, 1) for m in ((f"{n}.cls", b"%d" % n), (f"{n}.left.png", png(n)), (f"{n}.right.png", png(8)))
    ]
    with pytest.raises(
        DataError, match=r"0\.left\.png and 0\.right\.png\. Choose one: dataset\.source\.image_key=left\.png"
    ):
        loaded(tmp_path, members)
    write_tar(tmp_path / "train.tar", members)
    write_tar(tmp_path / "test.tar", members)
    images = TarShards("train.tar", "test.tar", image_key="left.png").load("train", tmp_path, 0)
    assert images is not None
    pack = images.images.paths[0].pack  # type: ignore[union-attr]
    assert [pack.read(n) for n in (0, 1)] == [png(0), png(1)]


def test_what_is_no_sample_is_passed_over(tmp_path: Path) -> None:
    members = [
        *samples([(png(0), 0), (png(1), 1)]),
        ("notes.txt", b"mine"),
        ("._000000.png", b""),
        ("__index__.json", b""),
    ]
    images = loaded(tmp_path, members)
    assert images.passed_over == {str(tmp_path / "train.tar"): [Path("notes.txt")]}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            [("0.png", b""), ("1.png", b""), ("1.cls", b"0")],
            r"but 1 of 2 in .*train\.tar have no `cls`, the first is 0\.png",
        ),
        ([("0.png", b""), ("0.seg", b"")], r"have no `cls`.*\(there are png, seg\)\..*dataset\.source\.label_key"),
        (
            [("0.npy", b""), ("0.cls", b"0")],
            r"samples with an image in .*, but got npy, cls\..*dataset\.source\.image_key",
        ),
        (
            [("0.png", b""), ("0.cls", b"-1")],
            r"train\.tar/0\.cls to be a word or an integer of at least 0, but got '-1'",
        ),
        ([("0.png", b""), ("0.cls", b" ")], "to be a word or an integer"),
        ([("0.png", b""), ("0.cls", b"\xff")], r"0\.cls to be text, but it cannot be read"),
        ([("0.png", b""), ("0.json", b"{")], r"0\.json to be JSON, but it cannot be read"),
        (
            [("0.png", b""), ("0.json", b'{"y": 1}')],
            r"field `label` in .*0\.json, but got y\. .*dataset\.source\.label_field",
        ),
        ([("0.png", b""), ("0.json", b'{"label": 1.5}')], "but got 1.5"),
        ([("0.png", b""), ("0.json", b'{"label": null}')], "but got None"),
        ([("0.png", b""), ("0.cls", b"0"), ("0.png", b"")], r"0\.png is there twice"),
        ([], "but got nothing"),
    ],
)
def test_faulty_samples_are_refused(members: list[tuple[str, bytes]], said: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "train.tar", members)
    with pytest.raises(DataError, match=said):
        TarShards("train.tar", train_fraction=0.5).prepare(tmp_path, False)


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    source = as_tar(tmp_path)
    file = tmp_path / "train-0001.tar"
    whole = file.read_bytes()
    header = whole.index(b"000008.png")
    for content, said in (
        (whole[: header + 700], "unexpected end of data"),
        (whole[:header], "damaged or cut off"),
        (whole[: header + 100], "damaged or cut off"),
        (whole[:header] + b"?" * 512 + whole[header + 512 :], "damaged or cut off"),
        (gzip.compress(whole), "compressed, .* Unpack it first"),
        (b"no tar file at all" * 99, "cannot be read: .*Fetch it again"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"train-0001\.tar to be a tar file, but .*{said}"):
            source.prepare(tmp_path, False)


def test_labels_beyond_the_names_beside_the_shards_are_refused(tmp_path: Path) -> None:
    source = as_tar(tmp_path)
    write_tar(tmp_path / "test-0001.tar", samples([(png(3), len(NAMES))]))
    with pytest.raises(
        DataError, match=r"`labels of .*test-0000\.tar and 1 more` to be among 3 classes.*got '3' for .*/000000"
    ):
        source.load("test", tmp_path, 0)


def test_the_headers_of_many_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tar_index, "REMEMBERED_FROM", 4)
    file, members = tmp_path / "a.tar", [*samples([(png(0), 0), (png(1), 1)]), ("ä\udce4.txt", b"")]
    write_tar(file, members)
    found = members_of(file)
    content = file.read_bytes()
    assert [(one.name, content[one.start : one.start + one.size]) for one in found] == members
    (index,) = (tmp_path / "cache" / "tar_index").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(tar_index, "_read", lambda file: pytest.fail("read again"))
        assert members_of(file) == found
    index.write_bytes(b"damaged")
    assert members_of(file) == found
    write_tar(file, members[:4])
    assert members_of(file) == found[:4]
