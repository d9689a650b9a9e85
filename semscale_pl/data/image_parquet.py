"""Images in Parquet files, as the Hugging Face Hub stores them: a column of their bytes beside one of labels."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from semscale_pl.data.checking import say_once
from semscale_pl.data.packed import PackedFile, state_of_files
from semscale_pl.data.packed_source import PackedSource, Part, Patterns, check_columns, found_files
from semscale_pl.data.source import DataError
from semscale_pl.features.arrow_tables import names_in_description
from semscale_pl.terminal import printable

# Bytes of row groups that a process keeps, beside the one that it reads from.
KEPT_BYTES = 2**28
# A row group is read as a whole.
LARGEST_GROUP = 2**31
# From this size on of a row group, reading one for each image takes longer than decoding it.
SLOW_GROUP = 2**22


class ImageParquet(PackedSource):
    """Parquet files with a column of images, a struct of `bytes` and `path` or the bytes alone, and one of labels.

    An image is read with its row group, of which the last ones are kept: files with row groups of about a hundred
    images, as the Hub writes them, are read at random best. Classes have the names that the file's description of its
    features, the metadata `huggingface`, gives them.

    Args:
        splits: `train`, `test` and `val`, see :class:`~semscale_pl.data.packed_source.PackedSource`.
        image_column: name of the column of images.
        label_column: name of the column of labels, words or numbers.
        settings: the other arguments of :class:`~semscale_pl.data.packed_source.PackedSource`.
    """

    def __init__(
        self, *splits: Patterns, image_column: str = "image", label_column: str = "label", **settings: Any
    ) -> None:
        super().__init__(*splits, **settings)
        self.image_column, self.label_column = str(image_column), str(label_column)

    def open(self, split: str, root: Path) -> Part:
        """Read the labels of a split, and where its images lie."""
        files = found_files(self.splits[split], root, ".parquet", split)
        tables = [self._table(file) for file in files]
        pack = ParquetImages([str(file) for file in files], tables[0].column, [table.groups for table in tables])
        sizes = [size for table in tables for size in table.sizes]
        if max(sizes, default=0) > SLOW_GROUP and sum(sizes) > KEPT_BYTES:
            say_once(
                f"{printable(str(files[0]))}: row groups of up to {max(sizes) / 2**20:.0f} MiB are read for one image, "
                "which is slow at random; write_table(..., row_group_size=100) of pyarrow.parquet makes smaller ones"
            )
        what = f"{self.label_column} of {printable(str(files[0]))}"
        if len(files) > 1:
            what = f"{what} and {len(files) - 1:,} more"
        kinds = {str(table.labels.type) for table in tables}
        if len(kinds) > 1:
            raise DataError(f"Expected one type in `{what}`, but got {', '.join(sorted(kinds))}. Write them alike.")
        names = [name for file, table in zip(files, tables, strict=True) for name in _names(file, table)]
        paths = [PackedFile(name, pack, number) for number, name in enumerate(names)]
        labels = pa.chunked_array([chunk for table in tables for chunk in table.labels.chunks], tables[0].labels.type)
        described = {tuple(table.class_names) for table in tables if table.class_names is not None}
        if len(described) > 1:
            raise DataError(f"Expected one order of the classes in `{what}`, but got several. Write them alike.")
        return Part(paths, labels.to_pandas(), what, next(iter(described), None))

    def _table(self, file: Path) -> _Table:
        try:
            with parquet.ParquetFile(file) as opened:
                schema = opened.schema_arrow
                column = _column(schema, self.image_column, self.label_column, file)
                sizes = _sizes_of_groups(opened.metadata, column, file)
                groups = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                labels = opened.read([self.label_column], use_threads=False).column(self.label_column)
                paths = None
                if column.endswith(".bytes") and schema.field(self.image_column).type.get_field_index("path") >= 0:
                    nested = opened.read([f"{self.image_column}.path"], use_threads=False).column(self.image_column)
                    paths = compute.struct_field(nested, "path").to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"Expected {printable(str(file))} to be a Parquet file, but it cannot be read: {_in_a_line(error)}. "
                "Fetch it again."
            ) from error
        return _Table(column, groups, sizes, labels, paths, names_in_description(schema.metadata, self.label_column))


class ParquetImages:
    """The images of some Parquet files, read by row groups; see :class:`~semscale_pl.data.packed.Pack`.

    Args:
        files: of the images.
        column: with their bytes, dotted within a struct.
        groups: of each file, the rows of each of its row groups.
    """

    def __init__(self, files: Sequence[str], column: str, groups: Sequence[Sequence[int]]) -> None:
        self.files, self.column = list(files), column
        self.state = state_of_files(files)
        self._places = [(file, group) for file, sizes in enumerate(groups) for group in range(len(sizes))]
        self._starts = np.cumsum([0, *(size for sizes in groups for size in sizes)])
        self._reset()

    def read(self, number: int) -> bytes:
        """Return the bytes of an image.

        Raises:
            ValueError: the row has none.
            OSError: the file cannot be read.
        """
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        value = self._group(place)[number - int(self._starts[place])].as_py()
        if value is None:
            raise ValueError("the row has no bytes")
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value for key, value in self.__dict__.items() if key not in ("_kept", "_lock", "_metadata", "_process")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        # Row groups, the last used last, and what each file says of its own.
        self._kept, self._metadata = OrderedDict[int, Any](), dict[int, Any]()

    def _group(self, place: int) -> Any:
        if self._process != os.getpid():  # in a forked process the lock may be held for ever
            self._reset()
        with self._lock:
            if place not in self._kept:
                file, group = self._places[place]
                with parquet.ParquetFile(self.files[file], metadata=self._metadata.get(file)) as opened:
                    self._metadata[file] = opened.metadata
                    table = opened.read_row_group(group, [self.column], use_threads=False)
                column = table.column(0)
                self._kept[place] = compute.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
                while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(place)
            return self._kept[place]


class _Table(NamedTuple):
    """A file: where the bytes are, rows and bytes of its groups, labels, the paths of images, names of classes."""

    column: str
    groups: list[int]
    sizes: list[int]
    labels: Any
    paths: list[str | None] | None
    class_names: list[str] | None


def _names(file: Path, table: _Table) -> list[str]:
    """Name the images by their rows, such that names sort as rows do, and by their own path's last part."""
    total = sum(table.groups)
    width = len(str(max(total - 1, 0)))
    own = table.paths if table.paths is not None else [None] * total
    return [f"{file}/{row:0{width}}{'-' + os.path.basename(path) if path else ''}" for row, path in enumerate(own)]


def _column(schema: Any, image_column: str, label_column: str, file: Path) -> str:
    """Return the column with the images' bytes, dotted within a struct."""
    check_columns(schema.names, image_column, label_column, file)
    kind = schema.field(image_column).type
    within = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else None
    if not _is_binary(kind if within is None else within):
        raise DataError(
            f"Expected column `{image_column}` of {printable(str(file))} to hold the bytes of image files, alone or as "
            f"`bytes` in a struct, but got {kind}. Name another: dataset.source.image_column."
        )
    return image_column if within is None else f"{image_column}.bytes"


def _is_binary(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _sizes_of_groups(metadata: Any, column: str, file: Path) -> list[int]:
    """Return the bytes that a column takes in each row group; DataError for one that is too large."""
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        sizes = (group.column(place) for place in range(group.num_columns))
        size = next((each.total_uncompressed_size for each in sizes if each.path_in_schema == column), 0)
        found.append(size)
        if size > LARGEST_GROUP:
            raise DataError(
                f"Expected row groups of at most {LARGEST_GROUP / 2**30:g} GiB in {printable(str(file))}, as one is "
                f"read as a whole, but got {size / 2**30:.1f} GiB. Write it anew with row_group_size=100 of "
                "pyarrow.parquet.write_table."
            )
    return found


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
