"""Arrays of a workspace: kept by name and thread, grown where needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from semscale_pl.measuring.kernel import Workspace


def test_memory_is_kept_by_name() -> None:
    space = Workspace()
    first = space.array("a", (4, 4))
    assert np.shares_memory(first, space.array("a", (2, 8), np.float32))
    assert not np.shares_memory(first, space.array("b", (4, 4)))


def test_a_larger_array_gets_new_memory_which_then_stays() -> None:
    space = Workspace()
    small, large = space.array("a", (2,)), space.array("a", (3,))
    assert not np.shares_memory(small, large)
    assert np.shares_memory(large, space.array("a", (1,)))


def test_shape_and_type_are_as_asked_for() -> None:
    space = Workspace()
    for dtype in (np.float32, np.float64, np.int64):
        found = space.array("a", (3, 5), dtype)
        assert found.shape == (3, 5)
        assert found.dtype == dtype
        assert found.flags.carray


def test_each_thread_has_its_own() -> None:
    space, both = Workspace(), Barrier(2)

    def fill(value: float) -> np.ndarray:
        array = space.array("a", (1000,))
        array[:] = value
        both.wait(10)
        return array

    with ThreadPoolExecutor(2) as pool:
        ones, twos = pool.map(fill, [1.0, 2.0])
    assert (ones == 1.0).all()
    assert (twos == 2.0).all()
