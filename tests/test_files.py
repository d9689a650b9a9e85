"""Records are strict JSON, and every file is replaced in one step or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.files import (
    LOCK,
    CannotWriteError,
    FolderInUseError,
    claimed,
    copy_file,
    csv_text,
    holder,
    remove_partial,
    replacing,
    staged,
    strict,
    write_json,
    write_text,
)


class Pair(NamedTuple):
    low: float
    high: float | None


def test_every_kind_of_value_becomes_plain() -> None:
    value = {
        "tensor": torch.tensor([1.0, torch.nan]),
        "array": np.array([[1, 2]], dtype=np.int64),
        "scalar": np.float32(0.5),
        "infinite": [float("inf"), -np.inf],
        "pair": Pair(0.5, None),
        "path": Path("a/b"),
        5: (True, None, "text"),
    }
    assert strict(value) == {
        "tensor": [1.0, None],
        "array": [[1, 2]],
        "scalar": 0.5,
        "infinite": [None, None],
        "pair": {"low": 0.5, "high": None},
        "path": "a/b",
        "5": [True, None, "text"],
    }


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="but got object"):
        strict({"a": object()})


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(leaves, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=20)


@settings(max_examples=50, deadline=None)
@given(trees)
def test_strict_values_are_a_fixed_point_that_a_strict_parser_reads(tree: Any) -> None:
    plain = strict(tree)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(json.dumps(plain, allow_nan=False), parse_constant=refuse) == plain
    assert strict(plain) == plain


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_json(tmp_path / "run" / "metrics.json", {"a": float("nan")})
    assert target.read_text() == '{\n  "a": null\n}\n'

    def fail(source: str, destination: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(target, {"a": 1})
    assert json.loads(target.read_text()) == {"a": None}
    assert [path.name for path in target.parent.iterdir()] == ["metrics.json"]


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    target = write_text(tmp_path / "last.txt", "old")
    script = (
        "import os, signal, sys; from semscale_pl.files import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    partial.write_text('ne')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)], timeout=60).returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    (rest,) = set(tmp_path.iterdir()) - {target}
    assert rest.name.startswith(".last.txt.")
    assert rest.suffix == ".partial"


def test_what_a_killed_process_left_of_one_file_can_be_removed(tmp_path: Path) -> None:
    left = [".last[1].ckpt.0123abcd.partial", ".last[1].ckpt.ffffffff.partial"]
    others = [".last1.ckpt.0123abcd.partial", ".last[1].ckpt.txt.0123abcd.partial", "last[1].ckpt", "0123abcd.partial"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    remove_partial(tmp_path / "last[1].ckpt")
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    remove_partial(tmp_path / "absent" / "last.ckpt")


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target, texts = tmp_path / "table.csv", [sign * 100_000 for sign in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(target, text), texts))
    assert target.read_text() in texts
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        paths = [write_json(tmp_path / "a.json", 1), copy_file(write_text(tmp_path / "b", ""), tmp_path / "c")]
        with staged(tmp_path / "folder") as folder:
            write_text(folder / "d", "")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (*paths, tmp_path / "folder" / "d")} == {mode}


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match=r"Cannot write .*a\.json: (Not a directory|File exists)\. Free"):
        write_json(tmp_path / "file" / "a.json", 1)
    with pytest.raises(CannotWriteError, match=r"Cannot write .*file/folder: "), staged(tmp_path / "file" / "folder"):
        pass


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)  # what the mode of a folder says does not bind root
    with pytest.raises(CannotWriteError, match=r"Cannot write .*locked/a: Permission denied"):
        write_text(tmp_path / "locked" / "a", "")


def test_an_interrupted_block_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "predictions.csv"
    target.write_text("old")

    def write_half() -> None:
        with replacing(target) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_block_may_think_better_of_it(tmp_path: Path) -> None:
    target = write_text(tmp_path / "model", "old")
    with replacing(target) as partial:
        partial.unlink()
    assert target.read_text() == "old"

    def fails() -> None:
        with replacing(target) as partial:
            partial.write_text("new")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fails()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_copied_onto_itself_stays(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a", "text")
    assert copy_file(target, target).read_text() == "text"
    (tmp_path / "link").symlink_to(target)
    copy_file(target, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "measure" / "a"

    def fails() -> None:
        with staged(out) as folder:
            write_text(folder / "scales.csv", "")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert list(tmp_path.iterdir()) == []
    with staged(out) as folder:
        write_text(folder / "scales.csv", "")
    assert os.listdir(out.parent) == ["a"]
    assert os.listdir(out) == ["scales.csv"]


def test_long_names_and_undefined_cells(tmp_path: Path) -> None:
    name = "ü" * 120 + ".csv"
    write_text(tmp_path / name, csv_text([["a", None], [float("nan"), np.float64("nan"), 1.5, "x\ny"]]))
    assert (tmp_path / name).read_bytes() == b'a,\n,,1.5,"x\ny"\n'


HOLD = """
import os, sys, time
from semscale_pl.files import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    {}
"""


def holding(folder: Path, then: str) -> subprocess.Popen[str]:
    """Start a process that holds a folder, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path / "new" / "folder") as folder:
        with (
            pytest.raises(FolderInUseError, match=rf"process {os.getpid()} on .* writing in {folder}\."),
            claimed(folder),
        ):
            pass
        assert re.fullmatch(rf"process {os.getpid()} on .+", str(holder(folder)))
        with claimed(tmp_path / "another"):
            pass
    assert holder(folder) is None
    with claimed(folder):
        assert (folder / LOCK).exists()
    assert not list(tmp_path.iterdir())
    with claimed(folder):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_killed_process_leaves_nobody_out_and_its_children_hold_nothing(tmp_path: Path) -> None:
    # Long enough for the child to have begun.
    process = holding(tmp_path, "time.sleep(2) if os.fork() == 0 else (time.sleep(0.5), os.kill(os.getpid(), 9))")
    process.wait(timeout=30)
    assert (tmp_path / LOCK).is_file()
    with claimed(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    process.communicate()


def test_another_process_is_refused_while_one_writes(tmp_path: Path) -> None:
    process = holding(tmp_path, "time.sleep(60)")
    try:
        with pytest.raises(FolderInUseError, match=f"process {process.pid} on"), claimed(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()


def test_many_claims_at_once_let_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> int:
        for _ in range(50):
            try:
                with claimed(tmp_path):
                    inside.append(number)
                    assert inside == [number]
                    inside.remove(number)
                    return 1
            except FolderInUseError:
                continue
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enter, range(40))) > 0
    assert not list(tmp_path.iterdir())


def test_who_waits_gets_in_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> None:
        with claimed(tmp_path, wait=True):
            inside.append(number)
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(enter, range(40)))) == 40
    assert not list(tmp_path.iterdir())


def test_a_folder_without_locks_is_refused_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with claimed(tmp_path), claimed(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
