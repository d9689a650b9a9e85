"""Makers of small datasets of coloured squares in larger files, and the same images as a folder to compare with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from semscale_pl.data.image_parquet import ImageParquet
from semscale_pl.data.packed_source import PackedSource
from semscale_pl.data.saved_datasets import SavedDatasets
from semscale_pl.data.tar_shards import TarShards

NAMES = ("zebra", "ant", "mole")
COUNTS = {"train": 12, "test": 6}
SIDE = 5


def square(split: str, number: int, side: int = SIDE) -> bytes:
    """Return a PNG of random pixels."""
    rng = np.random.default_rng([len(split), number])
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def rows_of(split: str, broken: Sequence[int] = ()) -> list[tuple[bytes, int]]:
    """Return content and label of each image of a split."""
    return [
        (b"no image" if split == "train" and number in broken else square(split, number), number % len(NAMES))
        for number in range(COUNTS[split])
    ]


def description(names: Sequence[str] = NAMES) -> dict[str, str]:
    label = {"names": list(names), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def write_parquet(
    file: Path, rows: Sequence[tuple[Any, Any]], metadata: Mapping[str, str] | None = None, own_names: bool = True
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"bytes": content, "path": f"a/{number}.png"} if own_names else content
        for number, (content, _) in enumerate(rows)
    ]
    table = pa.table({"image": images, "label": [label for _, label in rows]})
    parquet.write_table(table.replace_schema_metadata(metadata), file, row_group_size=5)


def write_tar(file: Path, members: Sequence[tuple[str, bytes]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def samples(rows: Sequence[tuple[bytes, Any]], first: int = 0) -> list[tuple[str, bytes]]:
    return [
        member
        for number, (content, label) in enumerate(rows, first)
        for member in ((f"{number:06}.png", content), (f"{number:06}.cls", str(label).encode()))
    ]


def as_parquet(root: Path, broken: Sequence[int] = (), own_names: bool = True) -> PackedSource:
    """Write two shards a split."""
    for split in COUNTS:
        rows = rows_of(split, broken)
        for shard, part in enumerate((rows[:5], rows[5:])):
            file = root / "data" / f"{split}-{shard:05}-of-00002.parquet"
            write_parquet(file, part, description(), own_names)
    return ImageParquet(**{split: f"{{,data/}}{split}*.parquet" for split in ("train", "val", "test")})


def as_plain_parquet(root: Path, broken: Sequence[int] = ()) -> PackedSource:
    return as_parquet(root, broken, own_names=False)


def as_tar(root: Path, broken: Sequence[int] = ()) -> PackedSource:
    for split in COUNTS:
        rows = rows_of(split, broken)
        write_tar(root / f"{split}-0000.tar", samples(rows[:5]))
        write_tar(root / f"{split}-0001.tar", samples(rows[5:], 5))
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return TarShards("train-{0000..0001}.tar", "test*.tar", "val*.tar")


def as_saved(root: Path, broken: Sequence[int] = ()) -> PackedSource:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    splits = {}
    for split in COUNTS:
        rows = rows_of(split, broken)
        content = {"image": [{"bytes": row[0], "path": None} for row in rows], "label": [row[1] for row in rows]}
        splits[split] = datasets.Dataset.from_dict(content, features=features)
    datasets.DatasetDict(splits).save_to_disk(root / "saved")
    return SavedDatasets("saved")


def as_folder(root: Path) -> Path:
    """Write the same images as files; a class's name begins with its number, so that the order is the same."""
    for split in COUNTS:
        for number, (content, label) in enumerate(rows_of(split)):
            file = root / split / f"{label} {NAMES[label]}" / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return root


MAKERS: dict[str, Callable[..., PackedSource]] = {
    "Parquet with structs": as_parquet,
    "Parquet with bytes": as_plain_parquet,
    "tar": as_tar,
    "datasets": as_saved,
}
