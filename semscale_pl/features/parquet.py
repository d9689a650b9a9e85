"""Features in a Parquet file, memory-mapped and decoded a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from semscale_pl.features.arrow_tables import table_parts
from semscale_pl.features.source import Asked, Found


class ParquetTable:
    """A Parquet file as a :class:`~semscale_pl.features.arrow_tables.Table`; its groups are its row groups.

    Raises:
        ValueError: it is no such file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        with _damage_in_words(path.name):
            self._file = parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        self.schema = self._file.schema_arrow
        self._groups = [self._file.metadata.row_group(group) for group in range(self._file.metadata.num_row_groups)]
        self.starts = np.cumsum([0, *(group.num_rows for group in self._groups)])
        self._places = {self._file.schema.column(number).path: number for number in range(len(self._file.schema))}

    def batches(self, columns: Sequence[str], height: int, group: int | None = None) -> Iterator[Any]:
        """Yield record batches of at most ``height`` rows, of one row group or of all."""
        groups = None if group is None else [group]
        with _damage_in_words(self.name):
            yield from self._file.iter_batches(height, row_groups=groups, columns=list(columns))

    def bounds(self, column: str) -> tuple[float, float] | None:
        """Return the lowest and the highest number of a column by what the file says; 0 and 0 where it is silent."""
        known = [group.column(self._places[column]).statistics for group in self._groups]
        bounds = [
            (part.min, part.max)
            for part in known
            if part is not None and part.has_min_max and not isinstance(part.min, bytes)
        ]
        return min((low for low, _ in bounds), default=0), max((high for _, high in bounds), default=0)


def parquet_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a Parquet file, see :func:`semscale_pl.features.arrow_tables.table_parts`.

    Raises:
        ValueError: it is no such file, or a column is no feature.
    """
    return table_parts(ParquetTable(path), asked)


@contextmanager
def _damage_in_words(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"Expected {name} to be a Parquet file, but it is damaged or of another format. Save it again."
        ) from error
