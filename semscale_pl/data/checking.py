"""What must hold of a dataset before training starts: its labels and counts, and every image decoded once."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from semscale_pl.data.decoding import dark_line, decoded
from semscale_pl.data.finding import describe
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.packed import PackedFile, state_of
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.files import cache_folder, replacing
from semscale_pl.labels import composed
from semscale_pl.progress import Progress
from semscale_pl.terminal import printable

ImageCheck = Literal["decode", "exist", "none"]
BadImages = Literal["refuse", "skip"]
SHOWN = 3
# What can be done about a broken image besides mending it, in the words of `semscale train`.
CURE = (
    "dataset.on_bad_image=skip leaves them out, `semscale data verify` lists all, dataset.check_images=exist starts "
    "without looking into the files."
)
# Fewer images are decoded again sooner than a file is worth it.
REMEMBERED_FROM = 256
Fingerprints = NDArray[np.uint64]


def check_splits(splits: Mapping[str, ImageSet | None], files: bool = True) -> None:
    """Check that every class can be learnt, no test image is trained on, all files are there, and there is a choice.

    Args:
        splits: "train", "test" and perhaps "val".
        files: whether to look for them.

    Raises:
        DataError: a class without training images, an image in a training and an evaluation split, or only one class.
        DatasetNotFound: files that are named but absent.
    """
    present = {split: images for split, images in splits.items() if images is not None}
    check_classes(present["train"])
    for split in ("val", "test"):
        if split in present:
            check_disjoint(present["train"], present[split], split)
    for images in present.values() if files else ():
        check_files(images)
    check_several_classes(present["train"])


def check_classes(train: ImageSet) -> None:
    """Raise DataError where a class has no training images, before any long tail is cut."""
    empty = torch.nonzero(train.class_counts == 0).flatten().tolist()
    if empty:
        names = [train.class_names[label] for label in empty]
        said = describe({name: files for name, files in train.passed_over.items() if name in names})
        raise DataError(
            f"Expected every class to have training images, but {len(empty)} of {len(train.class_names)} have none "
            f"({', '.join(map(printable, names[:SHOWN]))}){said and f'; {said}'}. Add images, or remove the classes."
        )


def check_several_classes(train: ImageSet) -> None:
    """Raise DataError where there is only one class: a classifier of it is always right and learns nothing."""
    if len(train.class_names) < 2:
        raise DataError(
            f"Expected at least two classes, but got {', '.join(train.class_names)} alone. Look whether the folder is "
            "the one that holds the classes, or whether the list has all of them."
        )


def check_disjoint(train: ImageSet, other: ImageSet, split: str) -> None:
    """Raise DataError where a file is in both splits, the other one being `split`; images in memory have no names."""
    trained = set(places(paths_of(train)))
    named = paths_of(other)
    shared = [path for path, place in zip(named, places(named), strict=True) if place in trained]
    if shared:
        raise DataError(
            f"Expected train and {split} to share no image, but {len(shared)} are in both, for example "
            f"{printable(min(shared))}. Take them out of one of them."
        )


def check_same_classes(trained: Sequence[str], found: Sequence[str]) -> None:
    """Raise DataError where the data has other classes than a checkpoint, or has them in another order."""
    names = [composed(str(name)) for name in trained]
    if names != list(found):
        row, before, now = next(
            (row, *pair) for row, pair in enumerate(zip_longest(names, found)) if pair[0] != pair[1]
        )
        raise DataError(
            f"Expected the classes of the checkpoint, but class {row} is {now!r} in the data and was {before!r} in "
            "training. Use the data that it was trained on, or name the classes in the same order."
        )


def check_files(images: ImageSet) -> None:
    """Raise DatasetNotFound where image files are absent, with their number and the first one."""
    missing = missing_files(paths_of(images))
    if missing:
        raise DatasetNotFound(
            f"{len(missing)} of {len(images.labels)} images were not found, the first is {missing[0]}. Complete the "
            "dataset; `semscale data verify` lists them."
        )


def check_decodable(paths: Sequence[str], memory: Path | None = None, cure: str = CURE) -> None:
    """Raise DataError where image files cannot be decoded, with their number and the first ones.

    Args:
        paths, memory: see :func:`broken_images`.
        cure: what else can be done, in the words of the command that was called.

    Raises:
        DataError: some cannot be decoded.
    """
    problems = broken_images(paths, memory)
    if problems:
        raise DataError(
            f"Expected all images to be readable, but {len(problems):,} of {len(set(paths)):,} cannot be decoded: "
            f"{named(problems)}. Replace or remove them; {cure}"
        )


def broken_images(paths: Sequence[str], memory: Path | None = None) -> dict[str, str]:
    """Return which image files cannot be decoded, and why.

    Files are decoded in threads. Those that were found whole are remembered by path, size and time of change, so that a
    large dataset is decoded once and not at every start. Of 16-bit images that are nearly black a line is written.

    Args:
        paths: of files that exist.
        memory: file of the fingerprints of whole images, made and extended here; None remembers nothing.
    """
    chosen = sorted(set(paths))
    prints, known = fingerprints(chosen), _recalled(memory)
    fresh = np.flatnonzero(~np.isin(prints, known))
    progress = Progress("semscale: decoded {} images", quiet=3.0)
    looks = list(progress.over(decoded([chosen[row] for row in fresh]), len(fresh)))
    # What there is a word to say of is looked at again the next time.
    whole = prints[[row for row, look in zip(fresh, looks, strict=True) if not (look.problem or look.dark)]]
    if memory is not None and len(known) + len(whole) >= REMEMBERED_FROM and len(whole):
        _remember(memory, np.union1d(known, whole))
    dark = [look.path for look in looks if look.dark]
    if dark:
        say_once(dark_line(dark))
    return {look.path: look.problem for look in looks if look.problem}


def passed_over_of(splits: Iterable[ImageSet | None]) -> str:
    """Return the line that names files in and beside the class folders that are not used; empty for none."""
    found: dict[str, dict[Path, None]] = {}
    for images in splits:
        for name, files in (images.passed_over if images is not None else {}).items():
            found.setdefault(name, {}).update(dict.fromkeys(files))
    return describe({name: list(files) for name, files in found.items()})


def what_is_untested(labels: Tensor, class_names: Sequence[str]) -> str:
    """Return the line that names the classes without an image in the test part; empty where there are none."""
    names = _without_images(labels, class_names)
    return names and f"the test part has no image of {names}, so that their accuracy is unknown"


def skipped_line(broken: Mapping[str, str], total: int) -> str:
    """Return the line that names broken images of so many that are left out; empty where there are none."""
    return f"skipped {len(broken):,} of {total:,} images that cannot be decoded: {named(broken)}" if broken else ""


def is_first_rank() -> bool:
    """Return whether this process speaks for all, also before there is a process group."""
    return getattr(rank_zero_only, "rank", 0) == 0


def say_once(*lines: str) -> None:
    """Write lines for the user on stderr, on the first rank alone; empty ones are left out."""
    for line in filter(None, lines if is_first_rank() else ()):
        sys.stderr.write(f"semscale: {line}\n")


def named(problems: Mapping[str, str]) -> str:
    """Return the first broken images and why they cannot be decoded, for a line."""
    first = [f"{printable(path)} ({problem})" for path, problem in list(problems.items())[:SHOWN]]
    return ", ".join([*first, *(["..."] if len(problems) > SHOWN else [])])


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return the paths at which there is nothing, links to nothing among them.

    Each folder is read once, no file is opened. What lies in a larger file is there if that is.
    """
    folders: dict[str, dict[str, bool]] = {}
    packs: dict[int, bool] = {}
    missing: list[str] = []
    for path in paths:
        if isinstance(path, PackedFile):
            if id(path.pack) not in packs:
                packs[id(path.pack)] = all(map(os.path.exists, path.pack.files))
            if not packs[id(path.pack)]:
                missing.append(path)
            continue
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = _links_by_name(folder)
        is_link = folders[folder].get(name)
        if is_link is None or (is_link and not os.path.exists(path)):
            missing.append(path)
    return missing


def places(paths: Iterable[str]) -> list[str]:
    """Return where each file lies, without `.`, `..` and links, so that two names of one file are equal.

    Each folder is read once; only links are looked after.
    """
    folders: dict[str, tuple[str, dict[str, bool]]] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = (os.path.realpath(folder), _links_by_name(folder))
        real, links = folders[folder]
        found.append(os.path.realpath(path) if links.get(name) else os.path.join(real, name))
    return found


def paths_of(images: ImageSet | IndexedDataset) -> list[str]:
    """Return the files of all images, none where they are in memory."""
    return list(getattr(images.images, "paths", ()))


def used_files(*datasets: IndexedDataset | None) -> list[str]:
    """Return the files of the images that datasets show; none of those in memory or of a part that there is not."""
    found: list[str] = []
    for dataset in datasets:
        if dataset is not None and (paths := paths_of(dataset)):
            found += [paths[row] for row in dataset.rows.tolist()]
    return found


def fingerprints(paths: Sequence[str]) -> Fingerprints:
    """Return a 64-bit digest of each file's path, size and time of change, (N,).

    A file that is gone by now has a digest as well, and fails to decode later.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a network file system answers many questions at a time
        return np.fromiter(pool.map(_fingerprint, paths, chunksize=1024), np.uint64, len(paths))


def memory_of(name: str, root: Path) -> Path:
    """Return where the fingerprints of a dataset's images are kept: below SEMSCALE_CACHE or the user's cache folder.

    Copies of a dataset below another root are remembered apart.
    """
    place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
    return cache_folder() / "whole_images" / f"{''.join(sign if sign.isalnum() else '_' for sign in name)}-{place}.npy"


def _links_by_name(folder: str) -> dict[str, bool]:
    """Return the entries of a folder, and of each whether it is a link; none where there is no such folder."""
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:
        return {}


def _without_images(labels: Tensor, class_names: Sequence[str]) -> str:
    """Return the number and the first names of classes that have no image, or nothing."""
    absent = torch.nonzero(torch.bincount(labels, minlength=len(class_names)) == 0).flatten().tolist()
    shown = ", ".join(printable(class_names[label]) for label in absent[:SHOWN])
    more = ", ..." if len(absent) > SHOWN else ""
    return f"{len(absent):,} of {len(class_names):,} classes ({shown}{more})" if absent else ""


def _fingerprint(path: str) -> int:
    try:
        state = state_of(path)
    except OSError:
        state = "gone"
    text = os.fsencode(f"{os.path.abspath(path)}\0") + state.encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _recalled(memory: Path | None) -> Fingerprints:
    try:
        if memory is not None:
            return np.load(memory, allow_pickle=False).astype(np.uint64)
    except (OSError, ValueError, EOFError):  # absent, or damaged: everything is decoded again
        pass
    return np.zeros(0, np.uint64)


def _remember(memory: Path, prints: Fingerprints) -> None:
    try:
        with replacing(memory) as partial, partial.open("wb") as stream:
            np.save(stream, prints)
    except OSError as error:  # a full or read-only home must not keep anybody from training
        sys.stderr.write(f"semscale: could not remember the checked images: {error}\n")
