"""What must hold of a dataset before training starts: its labels and counts, and every image decoded once."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from semscale_pl.data.decoding import decoded
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.files import replacing
from semscale_pl.progress import Progress

ImageCheck = Literal["decode", "exist", "none"]
SHOWN = 3
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
        shown = ", ".join(train.class_names[label] for label in empty[:3])
        raise DataError(
            f"Expected every class to have training images, but {len(empty)} of {len(train.class_names)} have none "
            f"({shown}). Add images, or remove the classes."
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
    shared = sorted(set(paths_of(train)) & set(paths_of(other)))
    if shared:
        raise DataError(
            f"Expected train and {split} to share no image, but {len(shared)} are in both, for example {shared[0]}. "
            "Take them out of one of them."
        )


def check_files(images: ImageSet) -> None:
    """Raise DatasetNotFound where image files are absent, with their number and the first one."""
    missing = missing_files(paths_of(images))
    if missing:
        raise DatasetNotFound(
            f"{len(missing)} of {len(images.labels)} images were not found, the first is {missing[0]}. Complete the "
            "dataset; `semscale data verify` lists them."
        )


def check_decodable(paths: Sequence[str], memory: Path | None = None) -> None:
    """Raise DataError where image files cannot be decoded, with their number and the first ones.

    Files are decoded in threads. Those that were found whole are remembered by path, size and time of change, so that a
    large dataset is decoded once and not at every start.

    Args:
        paths: of files that exist.
        memory: file of the fingerprints of whole images, made and extended here; None remembers nothing.

    Raises:
        DataError: some cannot be decoded.
    """
    chosen = sorted(set(paths))
    prints, known = fingerprints(chosen), _recalled(memory)
    fresh = np.flatnonzero(~np.isin(prints, known))
    progress = Progress("semscale: decoded {} images", quiet=3.0)
    results = progress.over(decoded([chosen[row] for row in fresh]), len(fresh))
    problems = {path: problem for path, _, problem in results if problem}
    whole = prints[[row for row in fresh if chosen[row] not in problems]]
    if memory is not None and len(known) + len(whole) >= REMEMBERED_FROM and len(whole):
        _remember(memory, np.union1d(known, whole))
    if problems:
        first = ", ".join(f"{path} ({problem})" for path, problem in list(problems.items())[:SHOWN])
        raise DataError(
            f"Expected all images to be readable, but {len(problems):,} of {len(chosen):,} cannot be decoded: {first}"
            f"{', ...' if len(problems) > SHOWN else ''}. Replace or remove them; `semscale data verify` lists all, "
            "dataset.check_images=exist starts without looking into the files."
        )


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return the paths at which there is nothing; each folder is read once, no file is opened."""
    folders: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in folders[folder]:
            missing.append(path)
    return missing


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
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("SEMSCALE_CACHE") or Path(caches) / "semscale_pl")
    place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
    return folder / "whole_images" / f"{''.join(sign if sign.isalnum() else '_' for sign in name)}-{place}.npy"


def _fingerprint(path: str) -> int:
    try:
        found = os.stat(path)
        state = f"{found.st_size} {found.st_mtime_ns}"
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
