"""What is asked for in words, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semscale_pl.memory import left_of, parse_bytes, resident

MIB = 2**20
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read a process's memory")


@pytest.mark.parametrize(
    ("text", "size"), [("1GiB", 2**30), ("1.5 GB", 1_500_000_000), ("64kib", 65_536), ("12", 12), (7, 7), ("3 B", 3)]
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1GiB", "0", "0MiB", "1 TB", "1.GiB", "nan"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expected `max_memory` to be bytes or a size such as \"1GiB\", but got"):
        parse_bytes(text)


@needs_proc
def test_what_a_process_takes_is_counted() -> None:
    before = resident()
    ballast = np.ones(200 * MIB, np.uint8)
    assert before > MIB
    assert 190 * MIB < resident() - before < 260 * MIB
    assert left_of(2**40) <= 2**40 - ballast.nbytes


@needs_proc
def test_what_it_held_before_is_not() -> None:
    ballast = np.ones(300 * MIB, np.uint8)
    before = resident()
    assert before > ballast.nbytes
    assert left_of(100 * MIB, before) > 50 * MIB


@needs_proc
def test_memory_given_back_meanwhile_is_no_gift() -> None:
    assert left_of(100 * MIB, before=resident() + 2**30) == 100 * MIB
