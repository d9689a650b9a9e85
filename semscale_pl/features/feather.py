"""Features in a file of Arrow (Feather of version 2, or a stream of record batches), mapped into memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from semscale_pl.features.arrow_tables import table_parts
from semscale_pl.features.source import Asked, Found

_MAGIC, _OLD_MAGIC = b"ARROW1", b"FEA1"


class ArrowTable:
    """A file of Arrow as a :class:`~semscale_pl.features.arrow_tables.Table`; its groups are its record batches.

    What is stored uncompressed stays in the file; a compressed record batch is decoded as a whole.

    Raises:
        ValueError: it is no such file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if start.startswith(_OLD_MAGIC):
            raise ValueError(
                f"Expected {path.name} to be Feather of version 2, but it is of version 1. Read it with an older "
                "pyarrow, and save it again."
            )
        self._is_file = start == _MAGIC
        with self._opened() as reader:
            self.schema = reader.schema
        if not self.schema.names:
            raise ValueError(f"Expected columns in {path.name}, but it has none. Save it again.")
        sizes = [batch.num_rows for batch in self._read(self.schema.names[:1])]
        self.starts = np.cumsum([0, *sizes])

    def batches(self, columns: Sequence[str], height: int, group: int | None = None) -> Iterator[Any]:
        """Yield record batches of at most ``height`` rows, of one record batch of the file or of all."""
        for batch in self._read(columns, group):
            for start in range(0, batch.num_rows, height):
                yield batch.slice(start, height)
                self._release()

    def bounds(self, column: str) -> None:
        """Tell that the file does not say between which numbers a column is."""

    def _read(self, columns: Sequence[str], group: int | None = None) -> Iterator[Any]:
        with self._opened() as reader:
            if self._is_file and group is not None:
                batches: Any = [reader.get_batch(group)]
            elif self._is_file:
                batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                batches = (batch for number, batch in enumerate(reader) if group in (None, number))
            for batch in batches:
                batch.validate(full=True)  # offsets of a damaged file would point beside its bytes
                # pyarrow's own choice of columns would copy even what is not compressed.
                yield batch.select(list(columns))
                self._release()
                if group is not None:
                    return

    def _release(self) -> None:
        """Let go of the pages, which would count as memory of this process; they stay in the system's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            opened = ipc.open_file if self._is_file else ipc.open_stream
            with opened(pa.BufferReader(pa.py_buffer(self._map))) as reader:
                yield reader
        except (pa.ArrowException, OSError) as error:
            raise ValueError(
                f"Expected {self.name} to be a file of Arrow, but it is damaged, cut off or of another format. Copy or "
                "save it again."
            ) from error


def feather_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a file of Arrow, see :func:`semscale_pl.features.arrow_tables.table_parts`.

    Raises:
        ValueError: it is no such file, or a column is no feature.
    """
    return table_parts(ArrowTable(path), asked)
