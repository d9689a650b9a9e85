"""Packs: a table's results without checkpoints, from the machine that trained to the one that publishes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semscale_pl.files import copy_file, strict_json, write_bytes, write_json
from semscale_pl.tables.cache import METRICS, CellRun, key_versions, locate
from semscale_pl.tables.schema import Cell, Chosen, Table
from semscale_pl.tables.tuning import divergence_of, keep_divergence

SUFFIX, MANIFEST, IMPORTED = ".tar.gz", "pack.json", "imported.json"
# The record comes last: its presence means that the cell is whole.
PACKED = ("per_class.csv", "scales.csv", ".hydra/config.yaml", ".hydra/overrides.yaml", METRICS)
PART_BYTES = 16 * 2**20
# A part's manifest and ends, for which the cells leave room.
_ROOM = 2**18
_FORMAT = 1


@dataclass(frozen=True)
class Arrival:
    """What an import brought.

    Args:
        new: labels of the cells that were not here.
        known: labels of those that lay here with the same content.
        unfinished: label to how far the machine that trained had come.
    """

    new: tuple[str, ...]
    known: tuple[str, ...]
    unfinished: Mapping[str, str]


@dataclass(frozen=True)
class _Arriving:
    run: CellRun
    key: str
    versions: Mapping[str, str | None]
    source: Path


def write_pack(
    table: Table, runs: Sequence[CellRun], overrides: Sequence[str], states: Mapping[str, str], file: Path
) -> list[Path]:
    """Pack the finished cells that were trained here; the same cells give the same bytes.

    Args:
        runs: all cells of the table, its tuning runs as well.
        overrides: that the call gave to every cell.
        states: label to what is to be said of a cell without a result.
        file: ends in ``.tar.gz``. What does not fit into 16 MiB goes to ``NAME-1-of-3.tar.gz`` and so on; an earlier
            pack of this name is replaced by the new one, its parts as well.

    Returns:
        The files.
    """
    finished = [run for run in runs if run.metrics() is not None and _origin(run) is None]
    parts = _parted(finished)
    head = {
        "format": _FORMAT, "table": table.name, "profile": table.profile, "train": table.train,
        "overrides": list(overrides), "seeds": list(table.seeds), "versions": key_versions(),
        "chosen": [[one.row, one.column, one.setting] for one in table.chosen],
        "unfinished": {run.cell.label: _state(run, states) for run in runs if run not in finished},
    }  # fmt: skip
    targets = [_part_of(file, number, len(parts)) for number in range(1, len(parts) + 1)]
    for number, (target, part) in enumerate(zip(targets, parts, strict=True), 1):
        entries = [_entry(run) for run in part]
        manifest = {**head, "part": number, "parts": len(parts), "cells": entries}
        contents = {MANIFEST: strict_json(manifest, indent=1).encode()}
        for run in part:
            contents |= {f"cells/{run.folder.name}/{name}": content for name, content in _contents(run).items()}
        write_bytes(target, _archive(contents))
    for old in {file, *file.parent.glob(f"{_stem(file)}-*-of-*{SUFFIX}")} - set(targets):
        old.unlink(missing_ok=True)
    return targets


def read_pack(table: Table, overrides: Sequence[str], root: Path, file: Path) -> Arrival:
    """Check a pack and put its cells where this machine would keep its own, or change nothing.

    A cell is taken if its key is what this code gives with the versions of the machine that trained: the same
    configuration, the same files of the package. Its record stays as it is, with the device, versions and commit there.

    Args:
        overrides: that the call gave to every cell, as on the machine that trained.
        root: folder of all tables' cells.
        file: as given to :func:`write_pack`, or one of its parts.

    Raises:
        ValueError: the pack is damaged, of another table or of other code, or it has another result for a finished
            cell.
    """
    with tempfile.TemporaryDirectory(prefix="semscale-pack-") as place:
        try:
            arriving, unfinished = _read(_parts_to_read(file), Path(place), table, overrides, root)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"Expected {file} to hold what pack= writes, but its {MANIFEST} lacks {error}.") from None
        for one in arriving:
            _check_same(one.run, one.source, file)
        new = [one for one in arriving if one.run.metrics() is None]
        for one in new:
            _take(one)
        if unfinished and table.tune is not None:
            for run in locate(table, table.trials(overrides), root):
                keep_divergence(run, unfinished.get(run.cell.label, ""))
    labels = [one.run.cell.label for one in new]
    known = tuple(one.run.cell.label for one in arriving if one.run.cell.label not in labels)
    return Arrival(tuple(labels), known, unfinished)


def key_of(run: CellRun) -> str:
    """Return the key that a cell had where it was trained."""
    imported = _origin(run)
    return str(imported["key"]) if imported else run.folder.name


def imported_sentence(runs: Sequence[CellRun]) -> str:
    """Say which finished cells come from another machine; empty where none does."""
    origins = [(run, origin) for run in runs if run.metrics() is not None and (origin := _origin(run))]
    if not origins:
        return ""
    sources = [(run.metrics() or {}).get("provenance") or {} for run, _ in origins]
    devices, commits = (", ".join(sorted({str(one.get(key)) for one in sources})) for key in ("device", "commit"))
    versions = ", ".join(sorted({str((one.get("versions") or {}).get("torch")) for one in sources}))
    return f"Imported: {len(origins)} of {len(runs)} cells, trained on {devices}, torch {versions}, commit {commits}."


def _state(run: CellRun, states: Mapping[str, str]) -> str:
    return divergence_of(run) or states.get(run.cell.label, "imported")


def _origin(run: CellRun) -> dict[str, Any] | None:
    try:
        content = json.loads((run.folder / IMPORTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "key" in content else None


def _entry(run: CellRun) -> dict[str, Any]:
    position = {"row": run.cell.row, "column": run.cell.column, "seed": run.cell.seed, "trial": run.cell.trial}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in _contents(run).items()}
    return {**position, "key": run.folder.name, "files": sums}


def _contents(run: CellRun) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in PACKED if (run.folder / name).is_file()}


def _archive(contents: Mapping[str, bytes]) -> bytes:
    """Return a compressed archive without times, owners and the like."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def _parted(runs: Sequence[CellRun]) -> list[list[CellRun]]:
    """Divide cells into parts that stay below the limit; together they compress no worse than one by one."""
    parts: list[list[CellRun]] = [[]]
    size = 0
    for run in runs:
        own = len(_archive(_contents(run)))
        if parts[-1] and size + own > PART_BYTES - _ROOM:
            parts.append([])
            size = 0
        parts[-1].append(run)
        size += own
    return parts


def _stem(file: Path) -> str:
    return file.name.removesuffix(SUFFIX)


def _part_of(file: Path, number: int, parts: int) -> Path:
    return file if parts == 1 else file.with_name(f"{_stem(file)}-{number}-of-{parts}{SUFFIX}")


def _parts_to_read(file: Path) -> list[Path]:
    stem, _, count = _stem(file).rpartition("-of-")
    if stem and count.isdigit():
        file = file.with_name(stem.rpartition("-")[0] + SUFFIX)
    if file.is_file():
        return [file]
    found = sorted(file.parent.glob(f"{_stem(file)}-*-of-*{SUFFIX}"))
    parts = int(_stem(found[0]).rpartition("-of-")[2]) if found else 1
    wanted = [_part_of(file, number, parts) for number in range(1, parts + 1)]
    if missing := [part for part in wanted if not part.is_file()]:
        raise ValueError(f"Expected a pack of results, but there is no {missing[0]}. Write one with pack=.")
    return wanted


def _unpacked(file: Path, folder: Path) -> dict[str, Any]:
    """Unpack a part, nothing of which may lie outside of the folder, and return its manifest."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            archive.extractall(folder, filter="data")
        manifest = _strict(folder / MANIFEST)
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} is no mapping")
        return manifest
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected {file} to be a whole pack of results, but: {reason}. Fetch it again.") from None


def _strict(file: Path) -> Any:
    """Read JSON that every parser reads: without NaN and infinities."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{file.name} holds {name}, which is not JSON")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


def _read(
    parts: Sequence[Path], place: Path, table: Table, overrides: Sequence[str], root: Path
) -> tuple[list[_Arriving], dict[str, str]]:
    """Return the cells of all parts, checked, and what is said of those that were unfinished."""
    arriving, unfinished = list[_Arriving](), dict[str, str]()
    for number, part in enumerate(parts):
        manifest = _unpacked(part, place / str(number))
        _check_head(manifest, table, part)
        unfinished |= manifest["unfinished"]
        arriving += _matched(manifest, table, overrides, root, place / str(number), part)
    return arriving, unfinished


def _check_head(manifest: Mapping[str, Any], table: Table, file: Path) -> None:
    if manifest["format"] != _FORMAT:
        raise ValueError(f"Expected a pack of format {_FORMAT}, but {file} has {manifest['format']}. Pack it anew.")
    theirs = (manifest["table"], manifest["profile"], manifest["train"])
    if theirs != (table.name, table.profile, table.train):
        raise ValueError(f"Expected a pack of {table.full_name}, but {file} is one of {'-'.join(theirs[:2])}.")


def _matched(
    manifest: Mapping[str, Any], table: Table, overrides: Sequence[str], root: Path, folder: Path, file: Path
) -> Iterator[_Arriving]:
    """Yield each packed cell with the cell of this table that it is."""
    cells = _all_cells(manifest, table, overrides)
    places = [(cell.row, cell.column, cell.seed, cell.trial) for cell in cells]
    here = dict(zip(places, locate(table, cells, root), strict=True))
    keys = dict(zip(places, (run.folder.name for run in locate(table, cells, root, manifest["versions"])), strict=True))
    typed = " ".join(["seeds=" + ",".join(map(str, manifest["seeds"])), *manifest["overrides"]])
    for entry in manifest["cells"]:
        place = (entry["row"], entry["column"], entry["seed"], entry.get("trial", 0))
        if place not in here:
            raise ValueError(f"Expected cells of this table, but {file} has {place}. It was packed with {typed}.")
        label = here[place].cell.label
        if keys[place] != entry["key"]:
            raise ValueError(
                f"Expected the cells of {file} to come from this code and these settings, but {label} does not. It was "
                f"packed with {typed}: type the same, in a checkout of the commit that trained."
            )
        source = folder / "cells" / entry["key"]
        if reason := _damage(source, entry):
            raise ValueError(f"Expected {file} to be whole, but {reason} of {label}. Fetch it again.")
        yield _Arriving(here[place], entry["key"], manifest["versions"], source)


def _all_cells(manifest: Mapping[str, Any], table: Table, overrides: Sequence[str]) -> list[Cell]:
    """Return tuning runs and cells, these with what was chosen where the pack was made."""
    chosen = [
        Chosen(row, column, tuple((str(key), str(value)) for key, value in setting))
        for row, column, setting in manifest.get("chosen", ())
    ]
    return [*table.trials(overrides), *replace(table, chosen=tuple(chosen)).cells(overrides)]


def _damage(folder: Path, entry: Mapping[str, Any]) -> str:
    """Say what is wrong with the files of an unpacked cell; empty where nothing is."""
    sums = entry["files"]
    if unknown := [name for name in (*sums, METRICS) if name not in PACKED or name not in sums]:
        return f"{unknown[0]} does not belong there, or is missing,"
    for name, expected in sums.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            return f"{name} is damaged, that"
    try:
        record = _strict(folder / METRICS)
    except ValueError as error:
        return f"{METRICS} is not strict JSON ({error}), that"
    whole = isinstance(record, dict) and not record.get("interrupted") and record.get("seed") == entry["seed"]
    return "" if whole else f"{METRICS} is not of a whole run of its seed, that"


def _check_same(run: CellRun, source: Path, file: Path) -> None:
    if run.metrics() is None or (run.folder / METRICS).read_bytes() == (source / METRICS).read_bytes():
        return
    raise ValueError(
        f"Expected {run.cell.label} of {file} to be new here, but {run.folder} holds another result of it. Move that "
        "folder away to take the pack's, or give another runs=."
    )


def _take(one: _Arriving) -> None:
    write_json(one.run.folder / IMPORTED, {"key": one.key, "versions": one.versions})
    for name in PACKED:
        if (one.source / name).is_file():
            copy_file(one.source / name, one.run.folder / name)
