"""One display: a moving line on a terminal, ever rarer lines in a log, and an estimate in both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from semscale_pl.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [50.0]
    monkeypatch.setattr("semscale_pl.progress.time.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_lines_in_a_log_come_further_and_further_apart(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("decoded {} images", live=False) as progress:
        for done in range(1, 2001):
            clock(1.0)
            progress(done, 2000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "decoded 2 of 2,000 images, about 33 min 18 s left"
    assert [int(line.split()[1].replace(",", "")) for line in lines[:5]] == [2, 3, 5, 8, 12]
    assert len(lines) < 20


def test_short_work_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Progress("class {}", live=False).over("abc", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_goes_when_the_work_is_done(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    progress = Progress("class {}", live=True)
    for _ in progress.over(range(4), 4):
        clock(2.0)
    text = capsys.readouterr().err
    assert "class 4 of 4" in text
    assert "about 0 s left" in text
    assert text.endswith("\x1b[2K")  # the line is erased
    assert progress._bar is None


def test_a_failure_closes_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    progress = Progress("class {}", live=True)

    def fails() -> None:
        with progress:
            progress(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert "\x1b[?25h" in capsys.readouterr().err  # the cursor is back
