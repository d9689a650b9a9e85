"""A table's limit of time: what may still begin, by the seconds that its cells were measured to need."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from semscale_pl.files import strict_json, write_bytes
from semscale_pl.options import check
from semscale_pl.tables.cache import CellRun

PACE = "pace.json"
# Of the limit, for what follows the last cell: the statistics, the pictures, the pack.
_RESERVE, _MOST_RESERVED_SECONDS = 0.05, 10.0
# Epochs vary: those beside a process that tests or has ended more than others.
_MARGIN = 1.1


class OutOfTime(Exception):  # noqa: N818
    """A cell ended between two epochs because the next one would have ended after the limit."""


@dataclass(frozen=True)
class Pace:
    """How long a cell takes, and how far it is.

    Args:
        start: seconds from its assignment to its first epoch.
        epoch: seconds of an epoch.
        end: seconds from its last epoch to its record.
        completed: epochs that are in its checkpoint.
        epochs: that it trains in all; 0 where that is not known.
    """

    start: float = 0.0
    epoch: float = 0.0
    end: float = 0.0
    completed: int = 0
    epochs: int = 0

    def seconds_to_next(self, is_last: bool = False) -> float:
        """Return the seconds that the next epoch needs, with what follows it where it is the last one."""
        return _MARGIN * (self.epoch + (self.end if is_last else 0.0))

    @property
    def seconds_left(self) -> float:
        """Seconds of its epochs that are still to come, and of what follows them."""
        return max(0, self.epochs - self.completed) * self.epoch + self.end


class TimeLimit:
    """The moment, on the clock that all processes of a machine share, by which cells have to stop.

    Args:
        minutes: from ``started`` to the end of the whole call; a little before that cells have to stop.
        started: of ``time.monotonic()``; None for now.

    Example:
        >>> TimeLimit(minutes=0.5, started=0.0).stop_at
        28.5
    """

    def __init__(self, minutes: float, started: float | None = None) -> None:
        check(minutes=minutes)
        seconds = 60.0 * minutes
        self.minutes = minutes
        self.stop_at = (time.monotonic() if started is None else started) + seconds
        self.stop_at -= min(_RESERVE * seconds, _MOST_RESERVED_SECONDS)

    def allows(self, pace: Pace) -> bool:
        """Tell whether a cell that begins now would finish an epoch in time."""
        return time.monotonic() + pace.start + pace.seconds_to_next() < self.stop_at


def read_pace(folder: Path) -> Pace | None:
    """Return what a cell's folder says of its pace; None where it says nothing."""
    try:
        return Pace(**json.loads((folder / PACE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_pace(folder: Path, pace: Pace) -> None:
    """Keep a cell's pace beside its checkpoints."""
    write_bytes(folder / PACE, strict_json(asdict(pace)).encode(), durable=False)


def expected_pace(run: CellRun, others: Sequence[CellRun]) -> Pace:
    """Return a cell's own pace, or else the slowest of its column's cells, or else of all; zeros where none is known.

    The start is the shortest of all: the first cell of a process also waits for the libraries to load.

    Args:
        others: the cells of its table.
    """
    known = [(other.cell.column, pace) for other in others if (pace := read_pace(other.folder)) is not None]
    if not known:
        return Pace()
    start = min(pace.start for _, pace in known)
    if (own := read_pace(run.folder)) is not None:
        return replace(own, start=start)
    paces = [pace for column, pace in known if column == run.cell.column] or [pace for _, pace in known]
    return Pace(start, max(one.epoch for one in paces), max(one.end for one in paces))
