"""Real files, where SEMSCALE_DATA leads to them: index hashes of CIFAR-100-LT, RSSCN7 two ways, the published lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from semscale_pl.data.verification import Report, verify

CONF = Path(__file__).parents[2] / "conf"


def root_with(place: str) -> str:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not (Path(root) / place).exists():
        pytest.skip(f"SEMSCALE_DATA does not lead to {place}")
    return root


def built(root: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose("train", overrides=[f"dataset.root={root}", *overrides]).dataset)


# Those of cao_seed0 were found with numpy alone, following LDAM-DRW's loop over the classes.
@pytest.mark.parametrize(
    ("factor", "total", "hashes"),
    [
        (10, 19573, {"cao_seed0": "d0262356bfc4aa11", "first": "09e62f3980f47fea", "seeded": "36fb765e00c32fc3"}),
        (50, 12608, {"cao_seed0": "8382897eace08678", "first": "898d0d2a8543d10a", "seeded": "943acb34dbd951a8"}),
        (100, 10847, {"cao_seed0": "644b6d28caa663f3", "first": "baca8d6631515fff", "seeded": "5870bb4dd88f9283"}),
        (200, 9502, {"cao_seed0": "270547597b0f832b", "first": "3a5ce4626c9cded7", "seeded": "fc7b323fdb66cab0"}),
    ],
)
def test_cifar100_lt_totals_and_index_hashes(factor: int, total: int, hashes: dict[str, str]) -> None:
    root = root_with("cifar-100-python")
    for rule, expected in hashes.items():
        data = built(root, "dataset=cifar100_lt", f"imbalance_factor={factor}", f"dataset.subset_rule={rule}")
        data.setup()
        assert (data.train_size, data.index_hash) == (total, expected)


def test_rsscn7_through_its_config_and_as_a_folder_is_the_same() -> None:
    root = root_with("rsscn7_64")
    folder = ["dataset=image_folder", "dataset.source.folder=rsscn7_64", "dataset.source.train_fraction=0.5"]
    own, anybodys = built(root, "dataset=rsscn7_64"), built(root, *folder, "dataset.image_size=64")
    for data in (own, anybodys):
        data.prepare_data()
        data.setup()
        assert data.class_counts.tolist() == [200] * 7
        assert len(data.test_dataset) == 1400
        assert next(iter(data.train_dataloader()))[0].shape == (128, 3, 64, 64)
    assert own.index_hash == anybodys.index_hash
    assert own.class_names == ["Field", "Forest", "Grass", "Industry", "Parking", "Resident", "RiverLake"]
    assert (own.test_dataset[3][0] == anybodys.test_dataset[3][0]).all()


@pytest.mark.parametrize(
    ("name", "place", "counts"),
    [
        ("imagenet_lt", "lists/lt-splits", {"val": "20,000 images, 1,000 classes of 20", "test": "50,000 images"}),
        (
            "places_lt",
            "lists/lt-splits",
            {
                "train": "62,500 images, 365 classes of 5 to 4,980",
                "val": "7,300 images, 365 classes of 20",
                "test": "36,500 images, 365 classes of 100",
            },
        ),
        ("inaturalist2018", "lists/lt-splits", {"test": "24,426 images, 8,142 classes of 3"}),
        ("mini_imagenet", "lists/mini-imagenet-splits", {"all": "60,000 images, 100 classes of 600"}),
        ("oia_odir", "lists/odir5k", {"all": "6,392 images, 8 classes of 128 to 2,873"}),
    ],
)
def test_lists_are_read_and_counted_without_their_images(name: str, place: str, counts: dict[str, str]) -> None:
    data = built(root_with(place), f"dataset={name}")
    report = verify(data, decode=False)
    found = {entry.what.split(" list")[0]: entry for entry in report.findings if " list" in entry.what}
    for split, text in counts.items():
        assert found[split].found.startswith(text)
        assert found[split].ok
    assert all(entry.ok for entry in report.findings if entry.expected.startswith("MD5"))
    images_are_there = (data.root / getattr(data.source, "folder", "")).is_dir()
    assert images_are_there or one_line_says_where_to_get_them(report)


def one_line_says_where_to_get_them(report: Report) -> bool:
    return len(report.problems) == 1 and "http" in report.problems[0] and "\n" not in report.problems[0]


@pytest.mark.parametrize(("name", "place"), [("cifar100", "cifar-100-python"), ("mnist", "MNIST/raw")])
def test_checksums_and_counts_of_the_small_datasets(name: str, place: str) -> None:
    report = verify(built(root_with(place), f"dataset={name}"))
    assert report.ok
    assert report.findings


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    source = Path(root_with("cifar-100-python")) / "cifar-100-python"
    target = tmp_path / "cifar-100-python"
    target.mkdir()
    for name in ("train", "meta"):
        (target / name).symlink_to(source / name)
    content = bytearray((source / "test").read_bytes())
    content[10**6] ^= 1
    (target / "test").write_bytes(content)
    report = verify(built(str(tmp_path), "dataset=cifar100"))
    assert not report.ok
    assert [entry.what for entry in report.findings if entry.ok is False] == ["test"]
