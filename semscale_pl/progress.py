"""How far a command without a progress bar is, in a line now and then."""

from __future__ import annotations

import sys
import time

SECONDS_BETWEEN_LINES = 2.0


class ProgressLines:
    """Say on stderr how much is done and how long the rest will take, at most every two seconds.

    Args:
        what: is counted.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Report, where the last line is long enough ago.

        Args:
            done: of the total, at least 1.
            total: to be done.
        """
        now = time.monotonic()
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        left = (now - self._started) / done * (total - done)
        sys.stderr.write(f"{self._what} {done:,} of {total:,}, about {left:.0f} s left\n")
