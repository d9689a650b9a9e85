"""An embedding store: features of all images of a dataset in a folder, mapped into memory, checked when opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.arrays import read_array, read_header
from semscale_pl.files import cache_folder, claimed, replacing, write_json, write_text
from semscale_pl.labels import label_array
from semscale_pl.options import STORE_DTYPES, STORE_PARTS, check_choice

MANIFEST = "manifest.json"
FORMAT, VERSION = "semscale embedding store", 1
# Where the chunks of a store lie that is not whole yet.
CHUNKS = "chunks"
# Bytes of features that are looked through at a time.
_PIECE = 2**23


class StoreError(ValueError):
    """A store cannot be used; the message is one line that says which file and what to do."""


@dataclass(frozen=True)
class StorePart:
    """The features of one split.

    Attributes:
        features: (N, D) float32 or float16, mapped into memory where a store was opened.
        labels: (N,) int64 in [0, C).
        index: (N,) int64 positions of the images in the source's split.
        paths: N files, None where the images are no files.
        views: of K augmented copies of each image, each (N, D) like `features`.
    """

    features: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    paths: tuple[str, ...] | None = None
    views: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(
        cls,
        features: np.ndarray,
        labels: Any,
        index: np.ndarray | None = None,
        paths: Sequence[str] | None = None,
        views: Sequence[np.ndarray] = (),
    ) -> StorePart:
        """Make a part of arrays; without an index the rows are those of the split, in order."""
        numbers = np.arange(len(features)) if index is None else np.asarray(index)
        names = None if paths is None else tuple(paths)
        return cls(np.asarray(features), np.asarray(labels), numbers.astype(np.int64), names, tuple(views))

    def __len__(self) -> int:
        return len(self.labels)


class EmbeddingStore:
    """Features, labels and class names of the parts of a dataset, left by :func:`write_store` or `semscale embed`.

    Attributes:
        folder: of the store.
        manifest: what made the features: model, hash of its weights, input transform, data, versions.
        class_names: C names; label c of every part is the c-th.
        num_features: D.
        key: hash of all that the features depend on.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], parts: Mapping[str, StorePart]) -> None:
        self.folder, self.manifest, self._parts = folder, manifest, dict(parts)
        self.class_names: tuple[str, ...] = tuple(manifest["class_names"])
        self.num_features, self.key = int(manifest["num_features"]), str(manifest["key"])

    @classmethod
    def open(cls, folder: str | Path, class_names: Sequence[str] | None = None) -> EmbeddingStore:
        """Open a store; every file is looked through, a few megabytes in memory at a time.

        Args:
            folder: with the manifest, or the name of one below :func:`stores_folder`.
            class_names: which its classes have to be, in this order; None takes them as they are.

        Raises:
            StoreError: the folder is no store, one of another version or an unfinished one; a file is missing, cut off
                or of another shape, a feature is not finite, or the classes are in another order than when it was made.
        """
        place = found_store(folder)
        manifest = read_manifest(place)
        found = [part for part in STORE_PARTS if part in manifest["parts"]]
        parts = {part: _read_part(place, part, manifest) for part in found}
        if class_names is not None and list(class_names) != list(manifest["class_names"]):
            _refuse_classes(place, manifest["class_names"], class_names)
        return cls(place, manifest, parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its parts: of ``train``, ``val`` and ``test`` those that it has."""
        return tuple(self._parts)

    def part(self, name: str) -> StorePart:
        """Return a part.

        Raises:
            StoreError: it has none of that name.
        """
        if name not in self._parts:
            raise StoreError(f"Expected the store {self.folder} to have {name!r}, but it has {', '.join(self.parts)}.")
        return self._parts[name]


def stores_folder() -> Path:
    """Return where stores lie by default: below SEMSCALE_CACHE or the user's cache folder."""
    return cache_folder() / "embeddings"


def found_store(path: str | Path) -> Path:
    """Return the folder that a path means: where there is none, the one of that name below :func:`stores_folder`."""
    inside = stores_folder() / path
    return inside if not Path(path).exists() and inside.is_dir() else Path(path)


def is_store(path: str | Path) -> bool:
    """Tell whether a path is the folder of a store, whole or not."""
    return (Path(path) / MANIFEST).is_file() or (Path(path) / CHUNKS).is_dir()


def write_store(
    folder: str | Path,
    parts: Mapping[str, StorePart],
    class_names: Sequence[str],
    *,
    dtype: str = "float32",
    about: Mapping[str, Any] | None = None,
) -> EmbeddingStore:
    """Write a store of features that are there already; the manifest comes last, so that a killed one is none.

    Args:
        folder: new, or without a store.
        parts: of ``train``, ``val`` and ``test`` at least one, see :meth:`StorePart.of`.
        class_names: C names.
        dtype: of the stored features, "float32" or "float16".
        about: further entries of the manifest.

    Returns:
        The store, opened.

    Raises:
        StoreError: there is a store already, arrays do not belong together, or a feature is not finite as stored.
        CannotWriteError: the folder cannot be written.

    Example:
        >>> part = StorePart.of(np.eye(3), [0, 1, 1])
        >>> write_store(Path(getfixture("tmp_path")), {"train": part}, ["a", "b"]).num_features
        3
    """
    place = Path(folder)
    check_choice(dtype, STORE_DTYPES, "dtype")
    if is_store(place):
        raise StoreError(f"Expected no store in {place}, but there is one. Name another folder, or remove it.")
    if not parts or not set(parts) <= set(STORE_PARTS):
        raise StoreError(f"Expected parts of {', '.join(STORE_PARTS)}, but got {', '.join(parts) or 'none'}.")
    width = {part.features.shape[-1] for part in parts.values()}
    if len(width) > 1:
        raise StoreError(f"Expected the parts to have features of one width, but got {sorted(width)}.")
    digest = hashlib.blake2b(digest_size=16)
    with claimed(place):
        for name, part in parts.items():
            write_rows_of(place, name, part.labels, part.index, part.paths, class_names)
            for kind, matrix in zip(files_of(name, len(part.views)), (part.features, *part.views), strict=True):
                if matrix.shape != (len(part.labels), *width):
                    raise StoreError(
                        f"Expected the features of {name} to be ({len(part.labels)}, {max(width)}), one row a label, "
                        f"but got {tuple(matrix.shape)}."
                    )
                write_matrix(place / kind, _pieces(matrix), matrix.shape, dtype)
                digest.update(_digest_of_file(place / kind))
        entries = {name: part_entry(part.labels, class_names, len(part.views)) for name, part in parts.items()}
        digest.update(json.dumps(entries).encode())
        write_manifest(place, digest.hexdigest(), dtype, width.pop(), class_names, entries, about or {})
    return EmbeddingStore.open(place)


def files_of(part: str, views: int) -> list[str]:
    """Return the names of the matrices of a part: of the images as they are, then of their copies.

    Example:
        >>> files_of("train", 2)
        ['train.npy', 'train.view1.npy', 'train.view2.npy']
    """
    return [f"{part}.npy", *(f"{part}.view{copy}.npy" for copy in range(1, views + 1))]


def write_matrix(path: Path, pieces: Iterable[np.ndarray], shape: tuple[int, ...], dtype: str) -> None:
    """Write (N, D) features from pieces of rows in one step.

    Raises:
        StoreError: a feature is not finite as stored; no file is left then.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    done = 0
    with replacing(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            stored = as_stored(piece, dtype, path.name, done)
            file.write(stored.tobytes())
            done += len(stored)
        if done != shape[0]:
            raise StoreError(f"Expected {shape[0]:,} rows of features for {path.name}, but got {done:,}.")


def as_stored(features: np.ndarray, dtype: str, name: str, first: int = 0) -> np.ndarray:
    """Return rows in the type they are stored in.

    Args:
        features: (k, D).
        name: of the file, for messages.
        first: number of the first row.

    Raises:
        StoreError: a feature is not finite, or too large for float16.
    """
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(features, np.dtype(dtype))
    bad = _not_finite(stored)
    if bad is not None:
        large = dtype == "float16" and bool(np.isfinite(features[bad]).all())
        cure = "It is too large for float16: use dtype=float32" if large else "Look at the model and at that image"
        raise StoreError(f"Expected finite features for {name}, but got NaN or infinity in row {first + bad}. {cure}.")
    return stored


def write_rows_of(
    folder: Path,
    part: str,
    labels: np.ndarray,
    index: np.ndarray,
    paths: Sequence[str] | None,
    class_names: Sequence[str],
) -> None:
    """Write what a part knows of its rows besides their features.

    Raises:
        StoreError: not one label, index and path for each row, or a label that no class has.
    """
    numbers = label_array(labels, f"labels of {part}")
    if numbers.dtype.kind != "i" or not len(numbers) or int(numbers.max()) >= len(class_names):
        raise StoreError(f"Expected the labels of {part} to be class numbers in 0..{len(class_names) - 1}.")
    if len(index) != len(numbers) or (paths is not None and len(paths) != len(numbers)):
        raise StoreError(f"Expected an index and a path for each of the {len(numbers)} labels of {part}.")
    for kind, values in (("labels", numbers), ("index", index)):
        with replacing(folder / f"{part}.{kind}.npy") as partial, partial.open("wb") as file:
            np.save(file, values.astype(np.int64))
    if paths is not None:
        lines = "".join(path.replace("\n", "\\n") + "\n" for path in paths)
        write_text(folder / f"{part}.paths.txt", lines.encode("utf-8", "backslashreplace").decode())


def paths_of(folder: Path, part: str) -> tuple[str, ...] | None:
    """Read the files of a part's images; None where they are no files."""
    path = folder / f"{part}.paths.txt"
    return tuple(path.read_text(encoding="utf-8").split("\n")[:-1]) if path.is_file() else None


def part_entry(labels: np.ndarray, class_names: Sequence[str], views: int) -> dict[str, Any]:
    """Return what the manifest says of a part; the digest holds labels and class names together."""
    return {"rows": len(labels), "views": views, "labels": _digest(np.asarray(labels), class_names)}


def write_manifest(
    folder: Path,
    key: str,
    dtype: str,
    num_features: int,
    class_names: Sequence[str],
    parts: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> None:
    """Write the file that makes the folder a store; the parts' files are there by then."""
    head = {"format": FORMAT, "version": VERSION, "key": key, "dtype": dtype, "num_features": num_features}
    write_json(folder / MANIFEST, {**head, "class_names": list(class_names), "parts": dict(parts), **about})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a store.

    Raises:
        StoreError: the folder is no store, an unfinished one or one of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / CHUNKS).is_dir():
            raise StoreError(
                f"Expected a whole store in {folder}, but it is unfinished. Call the same `semscale embed` again, "
                f"which goes on, or after several shards `semscale embed merge={folder}`."
            )
        raise StoreError(
            f"Expected an embedding store, but {folder} has no {MANIFEST}. Name a folder that `semscale embed` printed."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"Expected {path} to be JSON, but it is damaged. Embed again into a new folder.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"Expected {path} to be the manifest of an embedding store, but it is none.")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"Expected version {VERSION} of the embedding store, but {path} has {manifest.get('version')!r}. Embed "
            "again, or open it with the semscale_pl that wrote it."
        )
    missing = [key for key in ("key", "dtype", "num_features", "class_names", "parts") if not manifest.get(key)]
    if missing:
        raise StoreError(f"Expected `{missing[0]}` in {path}, but it has none. Embed again into a new folder.")
    return manifest


def _read_part(folder: Path, part: str, manifest: Mapping[str, Any]) -> StorePart:
    entry, names = manifest["parts"][part], manifest["class_names"]
    rows = int(entry["rows"])
    labels, index = (_read_numbers(folder / f"{part}.{kind}.npy", rows) for kind in ("labels", "index"))
    if _digest(labels, names) != entry["labels"]:
        raise StoreError(
            f"Expected the classes of {folder} in the order in which they were stored, but {MANIFEST} names them in "
            f"another order than {part}.labels.npy counts them, or one of the two was changed. Embed again."
        )
    shape = (rows, int(manifest["num_features"]))
    matrices = [_mapped(folder / file, shape, manifest["dtype"]) for file in files_of(part, int(entry["views"]))]
    paths = paths_of(folder, part)
    if paths is not None and len(paths) != rows:
        raise StoreError(
            f"Expected {folder / part}.paths.txt to name {rows:,} files, but it has {len(paths):,} lines. Embed again."
        )
    return StorePart(matrices[0], labels, index, paths, tuple(matrices[1:]))


def _read_numbers(path: Path, rows: int) -> np.ndarray:
    _check_there(path)
    try:
        with path.open("rb") as file:
            values = read_array(file, path.name).copy()  # torch takes no array that cannot be written
    except ValueError as error:
        raise StoreError(f"Cannot read {path}: {error}") from error
    if values.shape != (rows,) or values.dtype != np.int64:
        raise StoreError(
            f"Expected {path} to hold {rows:,} whole numbers, but got {values.dtype} of shape {values.shape}. Embed "
            "again."
        )
    return values


def _mapped(path: Path, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Map a matrix once all of it was seen to be there and finite."""
    _check_there(path)
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    with path.open("rb") as file:
        try:
            found, order, kind = read_header(file, path.name)
        except ValueError as error:
            raise StoreError(f"Cannot read {path}: {error}") from error
        if (found, order, kind) != (shape, "C", np.dtype(dtype)):
            raise StoreError(
                f"Expected {path} to hold {dtype} features of shape {shape}, but got {kind} of shape {found}. Embed "
                "again."
            )
        if path.stat().st_size != file.tell() + size:
            raise StoreError(
                f"Expected {path} to hold {size:,} bytes of features, but got {path.stat().st_size - file.tell():,}. "
                "The file is cut off or was changed: copy it again, or embed again."
            )
        for first, piece in _read_pieces(file, shape, np.dtype(dtype)):
            bad = _not_finite(piece)
            if bad is not None:
                raise StoreError(
                    f"Expected finite features in {path}, but row {first + bad} holds NaN or infinity. Embed again."
                )
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_pieces(file: Any, shape: tuple[int, int], dtype: np.dtype) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rows by reading: pages of a mapped file would count as memory of this process."""
    height = max(1, _PIECE // (shape[1] * dtype.itemsize))
    for first in range(0, shape[0], height):
        count = min(height, shape[0] - first)
        yield first, np.fromfile(file, dtype, count * shape[1]).reshape(count, shape[1])


def _pieces(matrix: np.ndarray) -> Iterator[np.ndarray]:
    height = max(1, _PIECE // max(1, matrix.shape[1] * matrix.itemsize))
    for first in range(0, len(matrix), height):
        yield matrix[first : first + height]


def _not_finite(rows: np.ndarray) -> int | None:
    """Return the first row with a number that is not finite."""
    if rows.dtype == np.float16:  # by the bits of the exponent, three times as fast
        if int((rows.view(np.uint16) & 0x7FFF).max(initial=0)) < 0x7C00:
            return None
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            total = rows.sum()  # where NaN and infinity stay, and which is faster than to look at each
        if np.isfinite(total) or np.isfinite(rows).all():
            return None
    return int(np.flatnonzero(~np.isfinite(rows).all(1))[0])


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise StoreError(
            f"Expected {path} beside its {MANIFEST}, but it is missing. Copy the whole store, or embed again."
        )


def _digest(labels: np.ndarray, class_names: Sequence[str]) -> str:
    names = json.dumps(list(class_names)).encode()
    return hashlib.blake2b(labels.astype("<i8").tobytes() + names, digest_size=16).hexdigest()


def _digest_of_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _refuse_classes(folder: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    same = sorted(found) == sorted(wanted)
    what = "has them in another order" if same else f"has others ({', '.join(map(str, found[:3]))}, ...)"
    first = ", ".join(map(str, wanted[:3]))
    raise StoreError(
        f"Expected the {len(wanted)} classes of {folder} to be {first}, ..., but it {what}. Embed the same data."
    )
