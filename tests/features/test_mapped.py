"""Rows of a mapped file: the wanted ones, of any layout, and little of the file in memory meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.features.arrays import MappedRows

MIB = 2**20


def saved(path: Path, array: np.ndarray, order: str, before: int) -> MappedRows:
    path.write_bytes(bytes(before) + array.tobytes(order))
    return MappedRows(path, array.shape, array.dtype, before, order)


def read(rows: MappedRows, wanted: np.ndarray, size: int) -> np.ndarray:
    pieces = [piece.copy() for piece in rows.rows(wanted, size)]
    assert all(1 <= len(piece) <= size for piece in pieces)
    assert all(piece.dtype == rows.dtype for piece in pieces)
    return np.concatenate(pieces)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i4", "|u1"])
@pytest.mark.parametrize("before", [0, 128, 131])
def test_wanted_rows_of_any_layout(tmp_path: Path, kind: str, order: str, before: int) -> None:
    array = np.random.default_rng(0).uniform(0, 200, (3000, 7)).astype(kind)
    rows = saved(tmp_path / "features", array, order, before)
    wanted = np.flatnonzero(np.random.default_rng(1).random(3000) < 0.3)
    for size in (1, 100, 10_000):
        np.testing.assert_array_equal(read(rows, wanted, size), array[wanted].astype(rows.dtype))


@pytest.mark.parametrize("order", ["C", "F"])
def test_far_apart_rows_are_read_in_short_pieces(tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # With 4 KiB to be resident at most, of rows of 28 bytes.
    monkeypatch.setattr("semscale_pl.features.arrays._RESIDENT", 4096)
    array = np.random.default_rng(0).standard_normal((3000, 7)).astype(np.float32)
    rows = saved(tmp_path / "features", array, order, 128)
    wanted = np.array([0, 1, 145, 146, 147, 1000, 2998, 2999])
    np.testing.assert_array_equal(read(rows, wanted, 100), array[wanted])
    if order == "C":
        assert [len(piece) for piece in rows.rows(wanted, 100)] == [3, 2, 1, 2]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("every", [1, 50, 2000])
def test_little_of_a_file_is_resident_at_a_time(
    tmp_path: Path,
    order: str,
    every: int,
    resident_of_files: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = zeros(tmp_path / "features", 50_000, order)
    before = resident_of_files()
    release, seen = MappedRows._release, [before]

    def metered(self: MappedRows) -> None:
        seen.append(resident_of_files())
        release(self)

    monkeypatch.setattr(MappedRows, "_release", metered)
    for piece in rows.rows(np.arange(0, 50_000, every), 4096):
        assert not piece.any()
    assert len(seen) > 2
    assert max(seen) - before < 24 * MIB
    assert resident_of_files() - before < 2 * MIB


def test_pages_are_resident_while_they_are_read(
    tmp_path: Path, resident_of_files: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meter of the test above sees what it is there to see."""
    monkeypatch.setattr(MappedRows, "_release", lambda self: None)
    rows = zeros(tmp_path / "features", 2**15, "C")
    before = resident_of_files()
    assert sum(len(piece) for piece in rows.rows(np.arange(2**15), 4096)) == 2**15
    assert resident_of_files() - before > 48 * MIB


def zeros(path: Path, num_rows: int, order: str) -> MappedRows:
    """Map rows of 512 features that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(num_rows * 512 * 4)
    return MappedRows(path, (num_rows, 512), np.dtype(np.float32), 0, order)


@pytest.fixture
def resident_of_files() -> Callable[[], int]:
    status = Path("/proc/self/status")
    if not status.exists() or "RssFile" not in status.read_text():
        pytest.skip("This system does not tell how much of mapped files is in memory.")

    def bytes_of_files() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("RssFile"))
        return int(line.split()[1]) * 1024

    return bytes_of_files


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<i4"])
def test_rows_in_any_order(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semscale_pl.features.arrays._RESIDENT", 2**22)  # two rows at a time
    array = np.random.default_rng(0).uniform(0, 200, (300, 7)).astype(kind)
    rows = saved(tmp_path / "features", array, "C", 128)
    for wanted in (np.array([7, 299, 0, 7, 42]), np.arange(20, 60), np.array([], dtype=np.int64)):
        found = rows.take(wanted)
        np.testing.assert_array_equal(found, array[wanted].astype(found.dtype))
        assert found.dtype == (kind if kind in ("<f2", "<f4") else rows.dtype)
