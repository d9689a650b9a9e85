"""Compare a dataset on disk with what it must contain: files, checksums, counts, and every image decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from semscale_pl.data.checking import (
    check_classes,
    check_disjoint,
    check_several_classes,
    missing_files,
    passed_over_of,
    paths_of,
    places,
    what_is_untested,
)
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.decoding import dark_line, decoded
from semscale_pl.data.lists import Lists, read_list
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.data.vectors import VectorSet
from semscale_pl.data.vision import Vision
from semscale_pl.data.wrapped import Balanced
from semscale_pl.terminal import printable

SPLITS = ("train", "val", "test", "gallery")
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


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
    md5: Mapping[str, str] = field(default_factory=dict)


_IMAGENET_MD5 = {
    "lists/lt-splits/ImageNet_LT_val.txt": "ef44f8e43fbc904809a77216042e7498",
    "lists/lt-splits/ImageNet_LT_test.txt": "5f5f97c738923e877c5c78accce6744f",
}
_PLACES_MD5 = {
    "lists/lt-splits/Places_LT_train.txt": "e7795ab1bf428a89f900854127b1e556",
    "lists/lt-splits/Places_LT_val.txt": "2f6e727cd6c99c7b7fdecc9876875b1b",
    "lists/lt-splits/Places_LT_test.txt": "1347af35b053bd31cf782256306affe7",
}
_INATURALIST_MD5 = {"lists/lt-splits/iNaturalist18_val.txt": "b7ed52f3854c157c487cc3be9deb8abf"}
_MINI_MD5 = {
    "lists/mini-imagenet-splits/train.csv": "9525e1538f67719f18f1936bf8d0782d",
    "lists/mini-imagenet-splits/val.csv": "ce315ce99b41fbf84fa6acd69315d918",
    "lists/mini-imagenet-splits/test.csv": "5b89df877c6cbe5d291e43118a2a9591",
}
_ODIR_MD5 = {"lists/odir5k/full_df.csv": "fc7603866ed6a9fa4ad5fc91ab0cb6ae"}

EXPECTED: dict[str, Expectation] = {
    "mnist": Expectation({"train": 60_000, "test": 10_000}, (5_421, 6_742)),
    "fashion_mnist": Expectation({"train": 60_000, "test": 10_000}, (6_000, 6_000)),
    "cifar10": Expectation({"train": 50_000, "test": 10_000}, (5_000, 5_000)),
    "cifar100": Expectation({"train": 50_000, "test": 10_000}, (500, 500)),
    "digits": Expectation({"all": 1_797}, (174, 183)),
    "imagenet": Expectation({"train": 1_281_167, "test": 50_000}, (732, 1_300)),
    "imagenet_lt": Expectation({"train": 115_846, "val": 20_000, "test": 50_000}, (5, 1_280), _IMAGENET_MD5),
    "places_lt": Expectation({"train": 62_500, "val": 7_300, "test": 36_500}, (5, 4_980), _PLACES_MD5),
    "inaturalist2018": Expectation({"train": 437_513, "test": 24_426}, (2, 1_000), _INATURALIST_MD5),
    "mini_imagenet": Expectation({"all": 60_000}, (600, 600), _MINI_MD5),
    "rsscn7": Expectation({"all": 2_800}, (400, 400)),
    "rsscn7_64": Expectation({"all": 2_800}, (400, 400)),
    "cub2011": Expectation({"train": 11_788}, (41, 60)),
    "cars196": Expectation({"train": 16_185}),
    "stanford_online_products": Expectation({"train": 59_551, "test": 60_502}),
    "in_shop": Expectation({"train": 25_882, "test": 14_218, "gallery": 12_612}),
    "mini_imagenet_classes": Expectation({"train": 60_000}, (600, 600), _MINI_MD5),
    "cifar100_classes": Expectation({"train": 50_000, "test": 10_000}, (500, 500)),
    "rsscn7_classes": Expectation({"train": 2_800}, (400, 400)),
    "nwpu_resisc45": Expectation({"all": 31_500}, (700, 700)),
    "oia_odir": Expectation({"all": 6_392}, (128, 2_873), _ODIR_MD5),
    # Both parts are cut to H, of 128 images the smallest class.
    "oia_odir_b": Expectation({"all": 1_024}, (128, 128), _ODIR_MD5),
}


def expectation_of(name: str) -> Expectation | None:
    """Return what is known of a dataset config; long-tailed variants are cut from the same files.

    Example:
        >>> expectation_of("cifar100_lt").counts["train"]
        50000
        >>> expectation_of("mine") is None
        True
    """
    return EXPECTED.get(name) or EXPECTED.get(name.removesuffix("_lt1").removesuffix("_lt2").removesuffix("_lt"))


class Finding(NamedTuple):
    """One thing that was looked at; ``expected`` is empty where nothing is known.

    ``ok`` is None where a difference is worth a word but no fault.
    """

    what: str
    expected: str
    found: str
    ok: bool | None = True


@dataclass
class Report:
    """What `verify` found.

    Attributes:
        problems: a line each.
        remarks: what is worth a line, but no fault.
        bad_images: (path, reason) of images that are absent or cannot be decoded.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    bad_images: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.problems and not self.bad_images and all(entry.ok is not False for entry in self.findings)

    def note(self, what: str, expected: str, found: str, ok: bool | None = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(what, expected, found, ok))


def verify(data: ImbalancedDataModule, decode: bool = True, progress: Progress | None = None) -> Report:
    """Compare a dataset with what it must contain; a missing one is a problem in the report, not an error.

    Args:
        data: whose source and root are looked at; it need not be set up.
        decode: open every image file; otherwise only their presence is checked.
        progress: wraps an iterable and its length, to show how far decoding is.
    """
    report, expected = Report(), expectation_of(str(data.name))
    balanced = isinstance(data.source, Balanced)
    source: Any = data.source.source if isinstance(data.source, Balanced) else data.source
    if isinstance(source, Lists):
        _lists(report, source, data.root, expected, balanced)
    if isinstance(source, Vision):
        _checksums_of_torchvision(report, source.dataset, data.root)
    try:
        data.source.prepare(data.root, data.download)
        splits = SPLITS if getattr(data.source, "has_gallery", False) else SPLITS[:3]
        sets = {split: data.source.load(split, data.root, data.subset_seed) for split in splits}
    except (DataError, DatasetNotFound) as error:
        if isinstance(error, DatasetNotFound) and not report.findings and expected:
            for split, count in expected.counts.items():  # neither lists nor files: say what would be there
                report.note(split, _counted(count), "missing", False)
        report.problems.append(str(error))
        return report
    present = {split: images for split, images in sets.items() if images is not None}
    if data.split == "classes" and paths_of(present["train"]) == paths_of(present["test"]) != []:
        del present["test"]  # both are cut out of these images, by class
    _counts(report, present, expected, data.expected_classes)
    _relations(report, present, data.split == "classes")
    _images(report, present, decode, data.exif_rotation, progress or (lambda items, _: items))
    return report


def _lists(report: Report, source: Lists, root: Path, expected: Expectation | None, balanced: bool) -> None:
    """Read and count the lists that are there, also where the images are not."""
    counts = {} if expected is None or balanced else expected.counts  # those of a balanced cut are not the lists'
    for split, names in source.lists.items():
        number = counts.get(split)
        wish = "a list" if number is None or len(names) > 1 else f"a list of {_counted(number)}"
        found = [_list(report, root, name, source.columns, expected, wish) for name in names]
        if any(entries is None for entries in found):
            if number is not None and len(names) > 1:
                report.note(f"{split} lists", _counted(number), "incomplete", False)
        else:
            labels = Counter(label for entries in found for _, label in entries or ())
            text = f"{labels.total():,} images, {len(labels):,} classes of {_range(labels.values())}"
            what = f"{split} list" + "s" * (len(names) > 1)
            report.note(what, _images_or_any(number), text, number in (None, labels.total()))


def _list(
    report: Report, root: Path, name: str, columns: tuple[str, str], expected: Expectation | None, wish: str
) -> list[tuple[str, str]] | None:
    path = root / name
    if not path.is_file():
        report.note(path.name, wish, "missing", False)
        return None
    known = expected.md5.get(name) if expected else None
    if known is not None:
        # Lists differ in line ends and prefixes between copies: the counts decide.
        _checksum(report, path, known, fatal=False)
    try:
        return read_list(path, *columns)
    except DataError as error:
        report.problems.append(str(error))
        return None


def _checksums_of_torchvision(report: Report, dataset: str, root: Path) -> None:
    """Check the files against the checksums that torchvision carries."""
    from torchvision import datasets

    kind: Any = getattr(datasets, dataset)
    folder = root / (f"{dataset}/raw" if hasattr(kind, "resources") else kind.base_folder)
    known = kind.resources if hasattr(kind, "resources") else [*kind.train_list, *kind.test_list]
    for name, md5 in known:
        if (folder / name).is_file():  # MNIST's archives may be gone once they are unpacked
            _checksum(report, folder / name, md5, fatal=True)


def _checksum(report: Report, path: Path, known: str, fatal: bool) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    ok = True if found == known else (False if fatal else None)
    report.note(path.name, f"MD5 {known[:8]}", "the same" if ok else f"MD5 {found[:8]}, another edition", ok)


def _counts(report: Report, sets: dict[str, ImageSet], expected: Expectation | None, num_classes: int | None) -> None:
    wanted = dict(expected.counts) if expected else {}
    for split, images in sets.items():
        count = wanted.get(split)
        what = "samples" if isinstance(images, VectorSet) else "images"
        text = f"{len(images.labels):,} {what}, {_range(images.class_counts.tolist())} a class"
        report.note(split, _images_or_any(count), text, count in (None, len(images.labels)))
    if "all" in wanted:
        total = sum(len(images.labels) for images in sets.values())
        report.note("all", _counted(wanted["all"]), _counted(total), total == wanted["all"])
    classes = len(sets["train"].class_names)
    text = "" if num_classes is None else str(num_classes)
    report.note("classes", text, str(classes), num_classes in (None, classes))
    if expected and expected.sizes:
        counted = sets.values() if "all" in wanted else [sets["train"]]
        counts = torch.stack([images.class_counts for images in counted]).sum(0)
        found = (int(counts.min()), int(counts.max()))
        report.note("smallest to largest class", _range(expected.sizes), _range(found), found == expected.sizes)


def _relations(report: Report, sets: dict[str, ImageSet], by_class: bool) -> None:
    train = sets["train"]
    # Where the source itself parts the classes, those of the test have no training images.
    checks: list[Callable[[], None]] = [] if by_class else [partial(check_classes, train)]
    checks.append(partial(check_several_classes, train))
    checks += [partial(check_disjoint, train, sets[split], split) for split in SPLITS[1:] if split in sets]
    for check in checks:
        try:
            check()
        except DataError as error:
            report.problems.append(str(error))
    report.remarks += filter(None, [passed_over_of(sets.values()), _named_twice(sets)])
    if "test" in sets and bool(train.class_counts.all()):
        report.remarks += filter(None, [what_is_untested(sets["test"].labels, train.class_names)])


def _named_twice(sets: dict[str, ImageSet]) -> str:
    """Return the line that says of links that lead to images of the same split; empty where there are none."""
    twice = [
        place for images in sets.values() for place, times in Counter(places(paths_of(images))).items() if times > 1
    ]
    return (
        f"{len(twice):,} images are there more than once, by links; the first is {printable(min(twice))}"
        if twice
        else ""
    )


def _images(report: Report, sets: dict[str, ImageSet], decode: bool, upright: bool, progress: Progress) -> None:
    paths = sorted({path for images in sets.values() for path in paths_of(images)})
    if not paths:
        return
    absent = missing_files(paths)
    report.bad_images += [(path, "not found") for path in absent]
    report.note("image files", f"{len(paths):,}", f"{len(paths) - len(absent):,}", not absent)
    if not decode:
        return
    present = sorted(set(paths) - set(absent))
    looks = list(progress(decoded(present), len(present)))
    broken = [(look.path, look.problem) for look in looks if look.problem]
    report.bad_images += broken
    report.note("decodable", f"{len(present):,}", f"{len(present) - len(broken):,}", not broken)
    modes = Counter(look.mode for look in looks if look.mode not in ("", "RGB"))
    if modes:
        shown = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
        report.note("colours", "RGB", f"{shown}: read as RGB", None)
    turned, animated = sum(look.turned for look in looks), sum(look.animated for look in looks)
    if turned:
        answer = "turned by it" if upright else "left as they are"
        report.note("EXIF rotation", "", f"{_counted(turned)} with a tag: {answer}", None)
    if animated:
        report.note("several pictures", "", f"{_counted(animated)}: the first is read", None)
    dark = [look.path for look in looks if look.dark]
    if dark:
        report.note("16-bit images", "", f"{len(dark):,} with 12 bits: nearly black", None)
        report.remarks.append(dark_line(dark))


def _images_or_any(count: int | None) -> str:
    return "" if count is None else _counted(count)


def _range(values: Iterable[int]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "none"
    return f"{ordered[0]:,}" if ordered[0] == ordered[-1] else f"{ordered[0]:,} to {ordered[-1]:,}"


def _counted(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
