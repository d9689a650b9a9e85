"""An embedding store that is being made: chunks of rows, each whole or not there, by one process or by several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.store import (
    CHUNKS,
    MANIFEST,
    EmbeddingStore,
    StoreError,
    as_stored,
    files_of,
    part_entry,
    read_manifest,
    write_manifest,
    write_matrix,
    write_rows_of,
)
from semscale_pl.files import FolderInUseError, claimed, holder, replacing, write_json

PLAN = "plan.json"
# Rows of a chunk: seconds of work on a CPU. A store and its shards have the same ones, whatever the batches.
ROWS = 512


@dataclass(frozen=True)
class PartRows:
    """What a part knows of its rows besides their features, and how many augmented copies of them there will be."""

    labels: np.ndarray
    index: np.ndarray
    paths: tuple[str, ...] | None = None
    views: int = 0


@dataclass(frozen=True)
class Chunk:
    """Rows ``start`` to ``stop`` of a part; ``copy`` is 0 for the images as they are, else the number of the view."""

    part: str
    copy: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{files_of(self.part, self.copy)[self.copy].removesuffix('.npy')}.{self.start:09d}.npy"


@contextmanager
def at_work(folder: Path, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
    """Hold the place of the i-th of n calls that make a store while it works.

    The n calls of one division share nothing. Those of another division would make the same chunks again, and would
    find them gone once the first ones are joined.

    Args:
        folder: of the store.
        shard: i of n, counted from 1; a call alone is 1 of 1.

    Raises:
        FolderInUseError: the same shard, or one of another division, is at work.
        CannotWriteError: the folder cannot be written.
    """
    with claimed(folder / CHUNKS / _place(*shard)):
        others = calls_at_work(folder, besides=shard[1])
        if others:
            raise FolderInUseError(
                f"Expected nobody else at work on {folder}, but {others[0]} is. Wait for it to end, or name another "
                "folder."
            )
        yield


def calls_at_work(folder: Path, besides: int | None = None) -> list[str]:
    """Name the calls that make chunks of a store now, but for the shards of one division."""
    found = []
    for place in sorted((folder / CHUNKS).glob(_place("*", "*"))):
        i, n = place.name.split("-")[1::2]
        who = None if n == str(besides) else holder(place)
        if who is not None:
            found.append(f"{'a call without `shard`' if n == '1' else f'shard {i}/{n}'} ({who})")
    return found


class UnfinishedStore:
    """The chunks of a store in a folder, and the plan that says which ones there are to be.

    A process that is killed leaves whole chunks; another call goes on with the others. Several processes may write
    different chunks at a time, each in its place, see :func:`at_work`. To begin and to finish each holds the folder.

    Args:
        folder: of the store.
        plan: key, dtype, classes and parts that are still to be made, see :meth:`begin`.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = folder, plan

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        key: str,
        dtype: str,
        class_names: Sequence[str],
        parts: Mapping[str, PartRows],
        about: Mapping[str, Any],
    ) -> UnfinishedStore:
        """Begin a store, or go on with one of the same key: parts that are whole already stay as they are.

        Raises:
            StoreError: the folder holds another store.
            CannotWriteError: the folder cannot be written.
        """
        there = _there(folder)
        if there and there["key"] != key:
            differing = _differences(there, {**about, "dtype": dtype}) or "another key"
            raise StoreError(
                f"Expected an empty folder or the same store in {folder}, but it holds one of other settings "
                f"({differing}). Name another folder, or remove it."
            )
        done = there["parts"] if (folder / MANIFEST).is_file() else {}
        earlier = _plan_of(folder)["parts"] if _is_begun(folder) else {}
        wanted = {name: rows for name, rows in parts.items() if name not in done}
        planned = {name: part_entry(rows.labels, class_names, rows.views) for name, rows in wanted.items()}
        names = list(class_names)
        plan = {"key": key, "dtype": dtype, "class_names": names, "parts": {**earlier, **planned}, "about": dict(about)}
        for name in set(wanted) - set(earlier):
            write_rows_of(folder, name, wanted[name].labels, wanted[name].index, wanted[name].paths, class_names)
        if plan["parts"] != earlier:
            write_json(folder / CHUNKS / PLAN, plan)
        return cls(folder, plan)

    @classmethod
    def open(cls, folder: Path) -> UnfinishedStore:
        """Open what another process has begun.

        Raises:
            StoreError: nothing was begun there.
        """
        if not _is_begun(folder):
            what = "a whole store, with nothing left to merge" if (folder / MANIFEST).is_file() else "none"
            raise StoreError(f"Expected a store with shards in {folder}, but it is {what}. Name the folder of a shard.")
        return cls(folder, _plan_of(folder))

    def chunks(self, parts: Sequence[str], shard: tuple[int, int] = (1, 1)) -> list[Chunk]:
        """Return the chunks of some parts that a shard is to make, whether or not they are there.

        Args:
            parts: names; those that are whole already have none.
            shard: i of n, counted from 1; the n shards take turns.
        """
        entries = {name: entry for name, entry in self.plan["parts"].items() if name in parts}
        every = [chunk for name, entry in entries.items() for chunk in _chunks_of(name, entry)]
        return every[shard[0] - 1 :: shard[1]]

    def missing(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return those of some chunks that are not there yet."""
        return [chunk for chunk in chunks if not self._path(chunk).is_file()]

    def save(self, chunk: Chunk, features: np.ndarray) -> None:
        """Write the features (stop - start, D) of a chunk in one step.

        Raises:
            StoreError: a feature is not finite, or too large for the type it is stored in.
        """
        stored = as_stored(features, self.plan["dtype"], files_of(chunk.part, chunk.copy)[chunk.copy], chunk.start)
        with replacing(self._path(chunk)) as partial, partial.open("wb") as file:
            np.save(file, stored)

    def finish(self, needed: Sequence[str] = ()) -> EmbeddingStore | None:
        """Join the chunks of each part that has all of them, and name the parts in the manifest.

        What other calls have planned meanwhile stays, and what they have joined is not joined again.

        Args:
            needed: parts without which nothing is joined.

        Returns:
            The store; None where no part is whole yet, or one of those that are needed is not.

        Raises:
            StoreError: a chunk is damaged, or of another width than others.
        """
        left: set[str] = set()
        if _is_begun(self.folder):
            self.plan = _plan_of(self.folder)
            if self.missing(self.chunks(needed)):
                return None
            whole = [name for name in self.plan["parts"] if not self.missing(self.chunks([name]))]
            if whole:
                self._join(whole)
            left = set(self.plan["parts"]) - set(whole)
        if not (self.folder / MANIFEST).is_file():
            return None
        if not left:
            shutil.rmtree(self.folder / CHUNKS, ignore_errors=True)
        return EmbeddingStore.open(self.folder)

    def _join(self, parts: Sequence[str]) -> None:
        plan = self.plan
        chunks = {name: self.chunks([name]) for name in parts}
        width = int(np.load(self._path(chunks[parts[0]][0]), mmap_mode="r").shape[1])
        for name in parts:
            entry = plan["parts"][name]
            for copy, file in enumerate(files_of(name, entry["views"])):
                pieces = self._pieces([chunk for chunk in chunks[name] if chunk.copy == copy], width)
                write_matrix(self.folder / file, pieces, (entry["rows"], width), plan["dtype"])
        done = read_manifest(self.folder)["parts"] if (self.folder / MANIFEST).is_file() else {}
        entries = {**done, **{name: plan["parts"][name] for name in parts}}
        write_manifest(self.folder, plan["key"], plan["dtype"], width, plan["class_names"], entries, plan["about"])

    def _pieces(self, chunks: Sequence[Chunk], width: int) -> Iterator[np.ndarray]:
        for chunk in chunks:
            path = self._path(chunk)
            try:
                piece = np.load(path, allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise StoreError(f"Expected {path} to be whole, but it is damaged. Remove it, call again.") from error
            if piece.shape != (chunk.stop - chunk.start, width):
                raise StoreError(
                    f"Expected {path} to hold ({chunk.stop - chunk.start}, {width}) features, but got {piece.shape}. "
                    "Remove it and call again."
                )
            yield piece

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / CHUNKS / chunk.file


def _chunks_of(part: str, entry: Mapping[str, Any]) -> Iterator[Chunk]:
    rows = int(entry["rows"])
    for copy in range(int(entry["views"]) + 1):
        for start in range(0, rows, ROWS):
            yield Chunk(part, copy, start, min(start + ROWS, rows))


def _place(i: int | str, n: int | str) -> str:
    """Return the name of the folder that a shard holds."""
    return f"shard-{i}-of-{n}"


def _is_begun(folder: Path) -> bool:
    return (folder / CHUNKS / PLAN).is_file()


def _there(folder: Path) -> Mapping[str, Any]:
    """Return key and settings of what the folder holds; nothing where it holds none."""
    if (folder / MANIFEST).is_file():
        return read_manifest(folder)
    if _is_begun(folder):
        plan = _plan_of(folder)
        return {**plan["about"], "key": plan["key"], "dtype": plan["dtype"]}
    return {}


def _plan_of(folder: Path) -> dict[str, Any]:
    """Read what is left to do: a call that was killed while it removed chunks leaves parts that are whole already."""
    try:
        plan: dict[str, Any] = json.loads((folder / CHUNKS / PLAN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"Expected JSON in {folder / CHUNKS / PLAN}, but it is damaged. Remove {folder}.") from error
    done = read_manifest(folder)["parts"] if (folder / MANIFEST).is_file() else {}
    return {**plan, "parts": {name: entry for name, entry in plan["parts"].items() if name not in done}}


def _differences(there: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Name what a store depends on and has otherwise."""
    return ", ".join(
        name for name in ("model", "input", "data", "augmentation", "dtype") if there.get(name) != about.get(name)
    )
