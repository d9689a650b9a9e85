"""The terminal's side of a command: output that a closed pipe, a full disk or a narrow encoding cannot break."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Columns of a pipe, which has no width of its own; cutting numbers there would be worse than a long line.
PIPE_WIDTH = 160
# Ways of an encoding to write what it cannot show without an error.
_LENIENT = ("replace", "backslashreplace", "xmlcharrefreplace", "namereplace", "ignore")
_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}


class Losses:
    """What could not be printed.

    Attributes:
        error: the first error that is the user's to know, such as a full disk; None where there was none. A pipe that
            its reader closed is none: `| head` has seen what it wanted.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None

    def note(self, error: OSError) -> None:
        """Remember an error."""
        if error.errno not in (errno.EPIPE, errno.ECONNRESET) and self.error is None:
            self.error = error

    @property
    def reason(self) -> str:
        """What kept the output from being printed, in words; empty where all of it was."""
        return "" if self.error is None else self.error.strerror or str(self.error)


@contextmanager
def unbreakable() -> Iterator[Losses]:
    """Let the process's own stdout and stderr take everything, so that printing never ends a command.

    A closed or full stream swallows the rest, a letter that its encoding lacks becomes ``?``, and a stream that the
    process was started without (``>&-``) leads nowhere. Streams that a caller has put in place of the process's own,
    a notebook for example, stay as they are. Nested blocks do nothing.

    Yields:
        What stdout has lost; whole when the block ends.
    """
    _open_missing()
    losses, before = Losses(), (sys.stdout, sys.stderr)
    if _is_own(sys.stdout, 1):
        sys.stdout = _unbreakable(sys.stdout, losses)
    if _is_own(sys.stderr, 2):
        sys.stderr = _unbreakable(sys.stderr, Losses())
    try:
        yield losses
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def console(pipe_width: int | None = PIPE_WIDTH) -> Any:
    """Return rich's console of the present stdout, as wide as the terminal or, where there is none, ``pipe_width``."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else pipe_width, highlight=False)


def printable(text: str) -> str:
    r"""Return a text that neither breaks a line nor steers the terminal, whatever a class or file is called.

    Example:
        >>> printable("a\x1b[31m") == "a\N{REPLACEMENT CHARACTER}[31m"
        True
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def cell(text: str) -> Any:
    """Return a name as a cell of rich's tables: as it stands, without markup."""
    from rich.text import Text

    return Text(printable(text))


class _ForgivingFile(io.FileIO):
    """A file descriptor that takes everything: what it cannot write is noted and dropped."""

    def __init__(self, descriptor: int, losses: Losses) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._losses, self._broken = losses, False

    def write(self, content: Any) -> int:
        """Write all or, once an error has occurred, nothing; return the length either way."""
        view = memoryview(content).cast("B")
        rest = view
        while len(rest) and not self._broken:
            try:
                written = super().write(rest)
                if written is None:  # a reader that is slow, behind a pipe that does not block
                    select.select([], [self], [])
                rest = rest[written or 0 :]
            except OSError as error:
                self._broken = True
                self._losses.note(error)
        return len(view)


def _unbreakable(stream: TextIO, losses: Losses) -> TextIO:
    stream.flush()
    assert isinstance(stream, io.TextIOWrapper)
    return io.TextIOWrapper(
        io.BufferedWriter(_ForgivingFile(stream.fileno(), losses)),
        encoding=stream.encoding,
        errors=stream.errors if stream.errors in _LENIENT else "replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _is_own(stream: Any, descriptor: int) -> bool:
    """Tell whether a stream is the one that the interpreter opened for a descriptor, and still writes there."""
    original = sys.__stdout__ if descriptor == 1 else sys.__stderr__
    return stream is original and isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor


def _open_missing() -> None:
    """Open the null device in place of each standard stream that is closed.

    Otherwise the next file that is opened gets the stream's number, and what a library prints goes into it.
    """
    missing = [name for name in _STREAMS.values() if getattr(sys, name) is None]
    if not missing:
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in _STREAMS:
        os.set_inheritable(descriptor, True)  # child processes need them too
    os.close(descriptor)
    for name in missing:
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="replace"))  # noqa: SIM115
