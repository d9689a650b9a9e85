"""Arrays that a thread keeps from class to class: filling fresh memory takes longer than what is computed in it."""

from __future__ import annotations

import math
import threading

import numpy as np


class Workspace(threading.local):
    """Named arrays, of each thread its own.

    Example:
        >>> space = Workspace()
        >>> first = space.array("sums", (2, 3))
        >>> np.shares_memory(first, space.array("sums", (3, 1)))
        True
    """

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        """Return an array with anything in it; what the same name returned before is overwritten with it.

        Args:
            name: of its use.
            shape: of the array.
            dtype: of its numbers.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._kept or self._kept[name].nbytes < size:
            self._kept[name] = np.empty(size, np.uint8)
        return self._kept[name][:size].view(dtype).reshape(shape)
