"""Output that nothing breaks: closed pipes, full disks, missing streams and narrow encodings, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semscale_pl.terminal import cell, printable, unbreakable

# Prints in every way that commands print in, then saves what a command saves, and ends with what could not be printed.
SCRIPT = """
import logging, os, sys
from pathlib import Path
from rich.table import Table
from semscale_pl.progress import Progress
from semscale_pl.terminal import cell, console, unbreakable

with unbreakable() as losses:
    table = Table("class")
    table.add_row(cell("na\\u00efve \\u732b [x]"))
    console().print(table)
    for number in range(3000):
        print("a line to fill every buffer", number)
    sys.stdout.write("\\udce9 no letter\\n")
    with Progress("image {}", quiet=0.0) as progress:
        progress(1, 2)
    logging.getLogger().warning("a line of the log")
    sys.stdout.flush()
    Path("saved").write_text(losses.reason or "whole")
sys.exit(7)
"""


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        ("| true", "whole"),
        ("| head -1", "whole"),
        ("2>&1 | head -1", "whole"),
        ("> /dev/full", "No space left on device"),
        ("> /dev/full 2>&1", "No space left on device"),
        ("2> /dev/full", "whole"),
        (">&-", "whole"),
        ("2>&-", "whole"),
        ("<&- >&- 2>&-", "whole"),
        ("> /dev/null", "whole"),
    ],
)
def test_a_command_ends_as_it_would_whatever_becomes_of_its_output(
    redirection: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    line = f'"{sys.executable}" script.py {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (tmp_path / "saved").read_text() == reason
    assert done.returncode == 7
    assert not [text for text in ("Traceback", "Error", "Exception ignored") if text in done.stderr]


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "na?ve ? [x]"), ("cp1252", "naïve ? [x]"), ("utf-8", "naïve 猫 [x]")]
)
def test_what_an_encoding_lacks_becomes_a_question_mark(encoding: str, shown: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 7, done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    assert any(shown in line for line in lines)
    assert lines[-1] == "? no letter"
    assert len(lines) == 3000 + 1 + 5
    assert (tmp_path / "saved").read_text() == "whole"


def test_streams_that_a_caller_put_in_place_stay(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with unbreakable() as losses:
        assert sys.stdout is before
        print("as ever")
    assert capsys.readouterr().out == "as ever\n"
    assert losses.reason == ""


def test_names_neither_steer_the_terminal_nor_are_markup() -> None:
    assert printable("a\x1b[2J\nb") == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b"
    assert cell("[red]x[/]\n").plain == "[red]x[/]\N{REPLACEMENT CHARACTER}"
