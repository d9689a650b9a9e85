"""Signals that end a command: Ctrl-C, SIGTERM and SIGHUP unwind it alike, and the exit code says which one it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# A hung-up terminal is no signal of Windows.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# For what has to be closed; a queue kills after as long at the latest.
GRACE_SECONDS = 25.0
# Their order is Lightning's; the first that is set says which rank a process is.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# How often is looked whether the exception was lost: one that is raised while a library forks, for example, is ignored.
_LOOK_SECONDS = 0.2
# How long it is raised again before the process is ended without it.
LOST_SECONDS = 4.0
# Of a rank that Lightning's launcher started, the first rank.
_PARENT = os.getppid()
# For a first rank that ends for the same reason as this one; they differ in how long they took to start.
_TOGETHER_SECONDS = 30.0


def is_first_process() -> bool:
    """Return whether this is a run's only process or the first of its ranks, also before they have met."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def first_process_speaks() -> bool:
    """Return whether another process, the first rank, ends as well and says why, so that this one need not.

    It is waited for, as the rank that ends first makes Lightning kill the others, whatever they were about to say.
    """
    if is_first_process():
        return False
    end = time.monotonic() + _TOGETHER_SECONDS
    while os.getppid() == _PARENT and time.monotonic() < end:
        time.sleep(0.05)
    return os.getppid() != _PARENT


class Ended(KeyboardInterrupt):
    """A signal ended the command; whatever lets go on Ctrl-C lets go now.

    Args:
        number: of the signal.
        line: what to tell the user; empty where the command has a line of its own.
        is_told: whether another process says it.
    """

    def __init__(self, number: int = signal.SIGINT, line: str = "", is_told: bool = False) -> None:
        super().__init__(line)
        self.is_told = is_told
        self.number, self.line = signal.Signals(number), line

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal ended."""
        return 128 + self.number

    @property
    def what(self) -> str:
        """The first word or words of the line for the user."""
        return "Interrupted" if self.number == signal.SIGINT else f"Ended by {self.number.name}"


def as_ended(error: BaseException | None) -> Ended | None:
    """Return the end by a signal that an exception stands for, or that came before it; None where there was none.

    What a signal interrupts may fail in its own way, as where a loader's worker was ended before its parent noticed.
    """
    found = Ended(_state.number) if _state.number else None
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            found = error if isinstance(error, Ended) else found or Ended()
            break
        error = error.__cause__ or error.__context__
    _state.is_answered = found is not None
    return found


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """Let each of the signals raise :class:`Ended` in the block; a signal that was ignored before stays so.

    It is raised once, and again where a library has lost it. A process that has not let go in time, for it waits for
    another one or loses whatever is raised, is ended all the same. In another thread than the main one Python allows
    no handlers: nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.reset()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watch = threading.Thread(target=_end_in_time, args=(reader, handled), name="ending", daemon=True)
    _state.process = os.getpid()
    _state.writer = writer
    hooks = sys.unraisablehook, sys.excepthook, threading.excepthook
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        for number in handled:
            signal.signal(number, _raise)
        watch.start()
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
        sys.unraisablehook, sys.excepthook, threading.excepthook = hooks
        signal.set_wakeup_fd(earlier)
        _state.writer = -1
        os.close(writer)
        watch.join(1.0)
        _state.reset()


@contextmanager
def telling(line: Callable[[], str]) -> Iterator[None]:
    """Say what the user is told where a signal ends the process within the block and nothing is left to unwind it."""
    _state.line = line
    try:
        yield
    finally:
        _state.line = None


def hold_on() -> None:
    """Put the handlers back in place that a library has replaced by its own while the block runs."""
    if threading.current_thread() is threading.main_thread() and _raise in map(signal.getsignal, SIGNALS):
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL, None):
                signal.signal(number, _raise)


@contextmanager
def with_last_act(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` where this process is ended in the block for it has not let go in time: what it started ends too."""
    _last_acts.append(act)
    try:
        yield
    finally:
        if act in _last_acts:  # not in a forked child
            _last_acts.remove(act)


class _State:
    """What has come in the block, and whether somebody has dealt with it.

    Attributes:
        number: of the signal; 0 for none.
        writer: descriptor by which Python tells the watch of a signal.
        is_answered: whether the command knows of its end.
        line: gives what the user is told at the last.
    """

    number, writer, is_answered, process = 0, -1, False, -1
    line: Callable[[], str] | None = None
    _raised: weakref.ref[Ended] | None = None

    def reset(self) -> None:
        self.number, self.writer, self.is_answered, self._raised = 0, -1, False, None

    @property
    def is_under_way(self) -> bool:
        """Whether an exception is unwinding the block, or has."""
        return self.is_answered or (self._raised is not None and self._raised() is not None)

    def end(self, number: int) -> Ended:
        self.number, ended = number, Ended(number)
        self._raised = weakref.ref(ended)
        return ended


_state = _State()
_last_acts: list[Callable[[], object]] = []


def _raise(number: int, frame: FrameType | None) -> None:
    if _state.process != os.getpid():  # a forked child, which must not unwind what is its parent's
        if number != signal.SIGINT:  # Ctrl-C reaches the parent too, which ends its children
            os._exit(128 + number)
        return
    if not _state.is_under_way:
        # Nobody reads of an end that is ignored where it was raised: it comes again. In C, for another signal's handler
        # would interrupt a function of Python, as that of a loader whose workers were ended too.
        sys.unraisablehook = id  # type: ignore[assignment]
        # Nor of threads whose other end, in a child, the same signal has ended.
        sys.excepthook = threading.excepthook = _say_nothing
        raise _state.end(_state.number or number)


def _say_nothing(*_: object) -> None:
    pass


def _end_in_time(reader: int, handled: list[int]) -> None:
    """Wait for a signal's byte, then for the end of the block, which closes the pipe, and no longer than is allowed."""
    number, end, look, lost = 0, 0.0, 0.0, 0.0
    while True:
        # Other signals have bytes too, such as those of children that end.
        if not number or select.select([reader], [], [], max(0.0, look - time.monotonic()))[0]:
            received = os.read(reader, 1)
            if not received:
                os.close(reader)
                return
            if not number and received[0] in handled:
                number, end = received[0], time.monotonic() + GRACE_SECONDS
                look = time.monotonic() + _LOOK_SECONDS
                _state.number = number  # also where another signal's handler raises before ours has begun
        if not number or time.monotonic() < look:
            continue
        if time.monotonic() > end or lost > LOST_SECONDS:
            _end_now(number, lost > LOST_SECONDS)
        look = time.monotonic() + _LOOK_SECONDS
        if not _state.is_under_way:
            lost += _LOOK_SECONDS
            signal.pthread_kill(threading.main_thread().ident or 0, number)


def _end_now(number: int, is_lost: bool) -> None:
    for act in _last_acts:
        act()
    what, line = Ended(number).what, _state.line
    if is_first_process():
        why = "" if is_lost else f", and did not let go within {GRACE_SECONDS:.0f} s"
        sys.stderr.write(f"{what}{why}. {'' if line is None else line()}\n")
    sys.stderr.flush()
    os._exit(128 + number)


def _forget_in_child() -> None:
    """Keep a forked child's signals to itself: it shares the pipe."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
    if _state.writer >= 0:
        os.close(_state.writer)
    _state.reset()
    _last_acts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
