"""A folder of results that appears when all of them are written, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give a folder to write in, and move its files to where they belong once nothing can fail any more.

    Args:
        folder: of the results; made if need be, files of the same name in it are replaced.

    Yields:
        An empty folder on the same disk.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder.parent) as place:
            yield Path(place)
            folder.mkdir(exist_ok=True)
            for file in sorted(Path(place).iterdir()):
                file.replace(folder / file.name)
    except BaseException:
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
        raise
