"""What the known datasets must contain: images of each split as published, and checksums of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Expectation:
    """What a complete copy contains.

    Attributes:
        counts: split to images, before any long tail is cut; "all" where we split the images ourselves.
        sizes: smallest and largest class of the training split (of all images with "all"); None where not published.
        md5: list file, relative to the root, to the MD5 of the edition these numbers were counted in.
    """

    counts: Mapping[str, int]
    sizes: tuple[int, int] | None = None
    md5: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_LT = "lists/lt-splits/"
_MINI = "lists/mini-imagenet-splits/"
_ODIR_MD5 = {"lists/odir5k/full_df.csv": "fc7603866ed6a9fa4ad5fc91ab0cb6ae"}

EXPECTED: dict[str, Expectation] = {
    "mnist": Expectation({"train": 60_000, "test": 10_000}, (5_421, 6_742)),
    "fashion_mnist": Expectation({"train": 60_000, "test": 10_000}, (6_000, 6_000)),
    "cifar10": Expectation({"train": 50_000, "test": 10_000}, (5_000, 5_000)),
    "cifar100": Expectation({"train": 50_000, "test": 10_000}, (500, 500)),
    "digits": Expectation({"all": 1_797}, (174, 183)),
    "imagenet": Expectation({"train": 1_281_167, "test": 50_000}, (732, 1_300)),
    "imagenet_lt": Expectation(
        {"train": 115_846, "val": 20_000, "test": 50_000},
        (5, 1_280),
        {
            f"{_LT}ImageNet_LT_val.txt": "ef44f8e43fbc904809a77216042e7498",
            f"{_LT}ImageNet_LT_test.txt": "5f5f97c738923e877c5c78accce6744f",
        },
    ),
    "places_lt": Expectation(
        {"train": 62_500, "val": 7_300, "test": 36_500},
        (5, 4_980),
        {
            f"{_LT}Places_LT_train.txt": "e7795ab1bf428a89f900854127b1e556",
            f"{_LT}Places_LT_val.txt": "2f6e727cd6c99c7b7fdecc9876875b1b",
            f"{_LT}Places_LT_test.txt": "1347af35b053bd31cf782256306affe7",
        },
    ),
    "inaturalist2018": Expectation(
        {"train": 437_513, "test": 24_426},
        (2, 1_000),
        {f"{_LT}iNaturalist18_val.txt": "b7ed52f3854c157c487cc3be9deb8abf"},
    ),
    "mini_imagenet": Expectation(
        {"all": 60_000},
        (600, 600),
        {
            f"{_MINI}train.csv": "9525e1538f67719f18f1936bf8d0782d",
            f"{_MINI}val.csv": "ce315ce99b41fbf84fa6acd69315d918",
            f"{_MINI}test.csv": "5b89df877c6cbe5d291e43118a2a9591",
        },
    ),
    "rsscn7": Expectation({"all": 2_800}, (400, 400)),
    "rsscn7_64": Expectation({"all": 2_800}, (400, 400)),
    "nwpu_resisc45": Expectation({"all": 31_500}, (700, 700)),
    "oia_odir": Expectation({"all": 6_392}, (128, 2_873), _ODIR_MD5),
    # Both parts are cut to H, of 128 images the smallest class.
    "oia_odir_b": Expectation({"all": 1_024}, (128, 128), _ODIR_MD5),
}


def expectation_of(name: str) -> Expectation | None:
    """Return what is known of a dataset; long-tailed variants are cut from the same files.

    Args:
        name: of a dataset config, such as "cifar100_lt".

    Example:
        >>> expectation_of("cifar100_lt").counts["train"]
        50000
        >>> expectation_of("mine") is None
        True
    """
    return EXPECTED.get(name) or EXPECTED.get(name.removesuffix("_lt1").removesuffix("_lt2").removesuffix("_lt"))
