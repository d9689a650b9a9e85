"""Files that are whole or not there: strict JSON, text, and folders of results, each put in place in one step."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def strict(value: Any) -> Any:
    """Turn tensors, arrays, tuples and paths into plain JSON values, and NaN and infinities into None.

    Args:
        value: anything a record may hold.

    Raises:
        TypeError: a value has no plain form.

    Example:
        >>> strict({"accuracy": (1.0, float("nan")), 3: None})
        {'accuracy': [1.0, None], '3': None}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "_asdict"):
        return strict(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [strict(entry) for entry in value]
    if hasattr(value, "tolist"):
        return strict(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"Expected a value that JSON can hold, but got {type(value).__name__}. Turn it into plain values.")


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write a value as strict JSON, in place of the old file in one step.

    Args:
        path: of the file; missing folders are made.
        content: see :func:`strict`.

    Returns:
        The path.
    """
    text = json.dumps(strict(content), indent=2, allow_nan=False, ensure_ascii=False)
    return write_text(path, text + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file in place of the old one in one step.

    Args:
        path: of the file; missing folders are made.
        text: its content.

    Returns:
        The path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


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
