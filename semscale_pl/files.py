"""Files that are whole or not there, each put in place in one step, and folders that one process writes in."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Ends the name of a file that is being written; what is left of one belongs to a process that was killed.
PARTIAL = ".partial"
# Of a file's name in that of its partial file: together they must not be longer than file systems allow.
_KEPT_OF_NAME = 40
# Lies in a folder while a process writes there, see `claimed`.
LOCK = ".lock"
# Descriptors of the locks that this process holds.
_claims: set[int] = set()

PathLike = str | os.PathLike[str]


class CannotWriteError(OSError):
    """A file cannot be written; the message is one line that says where and why."""


class FolderInUseError(RuntimeError):
    """Another process writes in a folder; the message is one line that says which one."""


@contextmanager
def claimed(folder: PathLike, *, wait: bool = False) -> Iterator[Path]:
    """Hold a folder for this process, so that no second one writes there meanwhile.

    Missing folders are made; those that are still empty when the block ends go again.

    The claim is a lock of the operating system on a file in the folder. It ends with the process however that ends, so
    a file that a killed one left behind is in nobody's way. Children do not inherit it. Of the ranks of one run, the
    first one alone claims. Where the file system has no locks, nothing is refused.

    Args:
        folder: to hold.
        wait: for the one who holds it, instead of an error; for claims that last seconds.

    Yields:
        The folder.

    Raises:
        FolderInUseError: another process, or another block of this one, holds the folder.
        CannotWriteError: the folder cannot be written.
    """
    path = Path(folder) / LOCK
    made = [parent for parent in path.parents if not parent.exists()]
    with _explained(path):
        descriptor = _locked(path, wait)
    if descriptor is not None:
        _claims.add(descriptor)
    try:
        yield path.parent
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)  # before the lock goes: nobody may hold a file that is not there
            _claims.discard(descriptor)
            os.close(descriptor)
        _remove_empty(made)


def holder(folder: PathLike) -> str | None:
    """Return who holds a folder, see :func:`claimed`, such as "process 12 on host"; None where nobody does."""
    try:
        descriptor = os.open(Path(folder) / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"process {_name_in(descriptor) or 'of unknown number'}"
    except OSError:  # no locks here
        return None
    finally:
        os.close(descriptor)
    return None


@contextmanager
def replacing(path: PathLike, *, durable: bool = True) -> Iterator[Path]:
    """Give the path of an empty file beside another one, which it replaces when the block ends well.

    Several processes may write the same file at a time: each has a partial file of its own, and the last one stays.
    The new file has the permissions that the umask gives.

    Args:
        path: of the file to replace; missing folders are made.
        durable: wait until the content is on the disk, so that it survives a power failure as well.

    Yields:
        The path to write to; a block that removes this file leaves the old one in place.

    Raises:
        CannotWriteError: the folder or the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}{PARTIAL}")
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)
    try:
        yield partial
        if partial.exists():
            with _explained(target):
                if durable:
                    with partial.open("rb+") as file:
                        os.fsync(file.fileno())
                os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return where results are kept that can be made again: SEMSCALE_CACHE, or the user's cache folder."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SEMSCALE_CACHE") or Path(caches) / "semscale_pl")


def remove_partial(path: PathLike) -> None:
    """Remove what killed processes left of a file that this process alone writes, see :func:`replacing`."""
    target = Path(path)
    for rest in target.parent.glob(f".{glob.escape(target.name[:_KEPT_OF_NAME])}.{'[0-9a-f]' * 8}{PARTIAL}"):
        rest.unlink(missing_ok=True)


def write_text(path: PathLike, text: str) -> Path:
    """Write a text file in place of the old one in one step, and return its path, see :func:`replacing`."""
    with replacing(path) as partial, _explained(Path(path)):
        partial.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def write_bytes(path: PathLike, content: bytes, *, durable: bool = True) -> Path:
    """Write a binary file, see :func:`write_text` and :func:`replacing`."""
    with replacing(path, durable=durable) as partial, _explained(Path(path)):
        partial.write_bytes(content)
    return Path(path)


def write_json(path: PathLike, content: Any) -> Path:
    """Write a value as strict JSON, see :func:`write_text` and :func:`strict`."""
    return write_text(path, strict_json(content, indent=2) + "\n")


def copy_file(source: PathLike, path: PathLike) -> Path:
    """Copy a file, see :func:`write_text`; nothing happens where both are the same file."""
    target = Path(path)
    if not (target.exists() and target.samefile(source)):
        with replacing(target) as partial:
            shutil.copyfile(source, partial)
    return target


@contextmanager
def staged(folder: Path, earlier: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty folder to write in, and move its files to where they belong once nothing can fail any more.

    Args:
        folder: of the results; made if need be, files of the same name in it are replaced.
        earlier: names of the files that an earlier call may have left there. Those that this one does not write go, so
            that nothing stands beside results it does not belong to; any other file stays.

    Raises:
        CannotWriteError: the folder cannot be written.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        with _explained(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            place = tempfile.TemporaryDirectory(prefix=".", suffix=PARTIAL, dir=folder.parent)
        with place:
            yield Path(place.name)
            with _explained(folder):
                folder.mkdir(exist_ok=True)
                new = sorted(Path(place.name).iterdir())
                for name in set(earlier) - {file.name for file in new}:
                    (folder / name).unlink(missing_ok=True)
                for file in new:
                    file.replace(folder / file.name)
    except BaseException:
        _remove_empty(made)
        raise


def strict_json(content: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return a value as JSON that every parser reads, see :func:`strict`; one line without blanks unless indented."""
    separators = None if indent else (",", ":")
    return json.dumps(strict(content), indent=indent, separators=separators, allow_nan=False, ensure_ascii=ascii_only)


def strict(value: Any) -> Any:
    """Turn tensors, arrays, tuples and paths into plain JSON values, and NaN and infinities into None.

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


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Return rows as CSV with a line feed at each end; None and NaN are empty cells.

    Example:
        >>> csv_text([["class", "scale"], ["a,b", float("nan")]])
        'class,scale\n"a,b",\n'
    """
    file = io.StringIO()
    # Only NaN differs from itself.
    cells = (["" if cell is None or cell != cell else cell for cell in row] for row in rows)
    csv.writer(file, lineterminator="\n").writerows(cells)
    return file.getvalue()


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that hold nothing, inner ones first as they come."""
    for folder in folders:
        with suppress(OSError):  # it is not empty, or gone
            folder.rmdir()


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Say of an error of the file system in one line which file was to be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWriteError(f"Cannot write {target}: {reason}. Free some space, or name another folder.") from error


def _locked(path: Path, wait: bool) -> int | None:
    """Return the descriptor of a file that is locked now, or None where there are no locks.

    Raises:
        FolderInUseError: another one holds the lock, and it was not to be waited for.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # the holder before took its empty folder away
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            name = _name_in(descriptor)
            os.close(descriptor)
            raise FolderInUseError(
                f"Another run{f' (process {name})' if name else ''} is writing in {path.parent}. Wait for it to "
                "end, or name another folder."
            ) from None
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        if _is_same_file(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # the holder before took the file away between our opening and locking it


def _name_in(descriptor: int) -> str:
    """Return the process and host that a lock file names."""
    return os.pread(descriptor, 100, 0).decode(errors="replace").strip()


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _let_go_in_child() -> None:
    """Close what a forked child got: it would hold the parent's folders for as long as it lives."""
    for descriptor in _claims:
        os.close(descriptor)
    _claims.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
