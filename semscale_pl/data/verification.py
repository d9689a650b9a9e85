"""Compare a dataset on disk with what it must contain: files, checksums, counts, and every image decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from semscale_pl.data.checking import check_classes, check_disjoint, check_several_classes, missing_files, paths_of
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.decoding import decoded
from semscale_pl.data.lists import Lists, read_list
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.data.vision import Vision
from semscale_pl.data.wrapped import Balanced

SPLITS = ("train", "val", "test")
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


class Finding(NamedTuple):
    """One thing that was looked at.

    Args:
        what: was looked at.
        expected: of it; empty where nothing is known.
        found: instead or as expected.
        ok: None where a difference is worth a word but no fault.
    """

    what: str
    expected: str
    found: str
    ok: bool | None = True


@dataclass
class Report:
    """What `verify` found.

    Args:
        findings: in the order in which they were made.
        problems: one line each.
        bad_images: (path, reason) of every image that is absent or cannot be decoded.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bad_images: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.problems and not self.bad_images and all(entry.ok is not False for entry in self.findings)


def verify(data: ImbalancedDataModule, decode: bool = True, progress: Progress | None = None) -> Report:
    """Compare a dataset with what it must contain.

    Args:
        data: whose source and root are looked at; it need not be set up.
        decode: open every image file; otherwise only their presence is checked.
        progress: wraps an iterable and its length, to show how far decoding is.

    Returns:
        What was found; a missing dataset is a problem in it, not an error.
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
        sets = {split: data.source.load(split, data.root, data.subset_seed) for split in SPLITS}
    except (DataError, DatasetNotFound) as error:
        if isinstance(error, DatasetNotFound) and not report.findings:  # neither lists nor files to speak of
            _absent(report, expected)
        report.problems.append(str(error))
        return report
    present = {split: images for split, images in sets.items() if images is not None}
    _counts(report, present, expected, data.expected_classes)
    _relations(report, present)
    _images(report, present, decode, progress or (lambda items, _: items))
    return report


def _absent(report: Report, expected: Expectation | None) -> None:
    """Say what a complete copy would hold."""
    for split, count in expected.counts.items() if expected else ():
        report.findings.append(Finding(split, f"{count:,} images", "missing", False))


def _lists(report: Report, source: Lists, root: Path, expected: Expectation | None, balanced: bool) -> None:
    """Read and count the lists that are there, also where the images are not."""
    counts = {} if expected is None or balanced else expected.counts  # those of a balanced cut are not the lists'
    for split, names in source.lists.items():
        number = counts.get(split)
        wish = "a list" if number is None or len(names) > 1 else f"a list of {number:,} images"
        found = [_list(report, root, name, source.columns, expected, wish) for name in names]
        if any(entries is None for entries in found):
            if number is not None and len(names) > 1:
                report.findings.append(Finding(f"{split} lists", f"{number:,} images", "incomplete", False))
        else:
            labels = Counter(label for entries in found for _, label in entries or ())
            text = f"{sum(labels.values()):,} images, {len(labels):,} classes of {_range(labels.values())}"
            report.findings.append(
                Finding(
                    f"{split} list" + "s" * (len(names) > 1),
                    "" if number is None else f"{number:,} images",
                    text,
                    number in (None, sum(labels.values())),
                )
            )


def _list(
    report: Report, root: Path, name: str, columns: tuple[str, str], expected: Expectation | None, wish: str
) -> list[tuple[str, str]] | None:
    path = root / name
    if not path.is_file():
        report.findings.append(Finding(path.name, wish, "missing", False))
        return None
    known = expected.md5.get(name) if expected else None
    if known is not None:
        # Lists differ in line ends and prefixes between copies: the counts decide.
        report.findings.append(_checksum(path, known, fatal=False))
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
            report.findings.append(_checksum(folder / name, md5, fatal=True))


def _checksum(path: Path, known: str, fatal: bool) -> Finding:
    found = _md5_of(path)
    ok = True if found == known else (False if fatal else None)
    return Finding(path.name, f"MD5 {known[:8]}", "the same" if ok else f"MD5 {found[:8]}, another edition", ok)


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _counts(report: Report, sets: dict[str, ImageSet], expected: Expectation | None, num_classes: int | None) -> None:
    wanted = dict(expected.counts) if expected else {}
    for split, images in sets.items():
        count = wanted.get(split)
        text = f"{len(images.labels):,} images, {_range(images.class_counts.tolist())} a class"
        report.findings.append(
            Finding(split, "" if count is None else f"{count:,} images", text, count in (None, len(images.labels)))
        )
    if "all" in wanted:
        total = sum(len(images.labels) for images in sets.values())
        report.findings.append(Finding("all", f"{wanted['all']:,} images", f"{total:,} images", total == wanted["all"]))
    classes = len(sets["train"].class_names)
    text = "" if num_classes is None else str(num_classes)
    report.findings.append(Finding("classes", text, str(classes), num_classes in (None, classes)))
    if expected and expected.sizes:
        _sizes(report, sets, expected)


def _sizes(report: Report, sets: dict[str, ImageSet], expected: Expectation) -> None:
    assert expected.sizes is not None
    counts = sets["train"].class_counts
    if "all" in expected.counts:
        counts = sum((images.class_counts for images in sets.values()), start=counts * 0)
    found = (int(counts.min()), int(counts.max()))
    report.findings.append(
        Finding("smallest to largest class", _range(expected.sizes), _range(found), found == expected.sizes)
    )


def _relations(report: Report, sets: dict[str, ImageSet]) -> None:
    checks: list[Callable[[], None]] = [lambda: check_classes(sets["train"])]
    checks.append(lambda: check_several_classes(sets["train"]))
    checks += [
        lambda split=split: check_disjoint(sets["train"], sets[split], split)  # type: ignore[misc]
        for split in ("val", "test")
        if split in sets
    ]
    for check in checks:
        try:
            check()
        except DataError as error:
            report.problems.append(str(error))


def _images(report: Report, sets: dict[str, ImageSet], decode: bool, progress: Progress) -> None:
    paths = sorted({path for images in sets.values() for path in paths_of(images)})
    if not paths:
        return
    absent = missing_files(paths)
    report.bad_images += [(path, "not found") for path in absent]
    report.findings.append(Finding("image files", f"{len(paths):,}", f"{len(paths) - len(absent):,}", not absent))
    if not decode:
        return
    present = sorted(set(paths) - set(absent))
    results = list(progress(decoded(present), len(present)))
    broken = [(path, problem) for path, _, problem in results if problem]
    report.bad_images += broken
    report.findings.append(Finding("decodable", f"{len(present):,}", f"{len(present) - len(broken):,}", not broken))
    modes = Counter(mode for _, mode, _ in results if mode not in ("", "RGB"))
    if modes:
        shown = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
        report.findings.append(Finding("colours", "RGB", f"{shown}: read as RGB", None))


def _range(values: Iterable[int]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "none"
    return f"{ordered[0]:,}" if ordered[0] == ordered[-1] else f"{ordered[0]:,} to {ordered[-1]:,}"
