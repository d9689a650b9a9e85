"""Every image file decoded once before training starts, and remembered until it changes."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semscale_pl.data.decoding import decoded
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import DataError

ImageCheck = Literal["decode", "exist", "none"]
SHOWN = 3
# Fewer images are decoded again sooner than a file is worth it.
REMEMBERED_FROM = 256
SECONDS_BEFORE_FIRST_LINE, GROWTH = 3.0, 1.5

Fingerprints = NDArray[np.uint64]


def checked_choice(choice: str) -> ImageCheck:
    """Return which check is made.

    Args:
        choice: "decode", "exist" or "none".

    Raises:
        ValueError: another word.
    """
    if choice not in get_args(ImageCheck):
        raise ValueError(f"Expected `check_images` to be one of {', '.join(get_args(ImageCheck))}, but got {choice!r}.")
    return choice  # type: ignore[return-value]


def used_files(*datasets: IndexedDataset | None) -> list[str]:
    """Return the files of the images that datasets show; none of those in memory.

    Args:
        datasets: of all parts; None for a part that there is not.
    """
    found: list[str] = []
    for dataset in datasets:
        if dataset is not None and getattr(dataset.images, "paths", None):
            found += [dataset.images.paths[row] for row in dataset.rows.tolist()]  # type: ignore[union-attr]
    return found


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
    results = _announced(decoded([chosen[row] for row in fresh]), len(fresh))
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


def fingerprints(paths: Sequence[str]) -> Fingerprints:
    """Return a 64-bit digest of each file's path, size and time of change, (N,).

    Args:
        paths: of files; one that is gone by now has a digest as well, and fails to decode later.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a network file system answers many questions at a time
        return np.fromiter(pool.map(_fingerprint, paths, chunksize=1024), np.uint64, len(paths))


def memory_of(name: str, root: Path) -> Path:
    """Return where the fingerprints of a dataset's images are kept: below SEMSCALE_CACHE or the user's cache folder.

    Args:
        name: of the dataset.
        root: folder of all datasets; copies elsewhere are remembered apart.
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
    partial = memory.with_name(f".{memory.name}.{os.getpid()}.partial")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            np.save(stream, prints)
        os.replace(partial, memory)
    except OSError as error:  # a full or read-only home must not keep anybody from training
        partial.unlink(missing_ok=True) if partial.parent.is_dir() else None
        sys.stderr.write(f"semscale: could not remember the checked images in {memory}: {error.strerror}\n")


def _announced(
    results: Iterable[tuple[str, str, str]], total: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[str, str, str]]:
    """Pass the results on; where it takes long, say on stderr how long still, in lines further and further apart."""
    started, wait = clock(), SECONDS_BEFORE_FIRST_LINE
    for done, result in enumerate(results, start=1):
        yield result
        elapsed = clock() - started
        if elapsed >= wait and done < total:
            wait = elapsed * GROWTH
            left = round(elapsed / done * (total - done))
            sys.stderr.write(f"semscale: decoded {done:,} of {total:,} images, {left // 60} min {left % 60} s left\n")
            sys.stderr.flush()
