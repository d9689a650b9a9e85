"""The CSV that a page hands out reads back as the table that it shows."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess

import pytest

from semscale_pl.measuring.report.writing import PAGE

NODE = shutil.which("node")
NAMES = ["plain", 'a "quoted" name', "comma, <b>&</b>", "two\nlines", "\u732b"]


@pytest.mark.skipif(NODE is None, reason="needs node on the PATH")
def test_the_rows_shown_are_written_in_their_order() -> None:
    columns = [{"name": "n", "values": [1, 2, 3, 4, 5]}, {"name": "scale_bits", "values": [0.5, None, 1e-7, 2.5, 4.0]}]
    state = {"shown": [4, 1, 2, 3]}
    before = f"const data = {json.dumps({'classes': NAMES, 'columns': columns})}, state = {json.dumps(state)};"
    script = f"{before}\n{(PAGE / 'download.js').read_text()}\nprocess.stdout.write(csvText());"
    done = subprocess.run([str(NODE), "-"], input=script, capture_output=True, text=True, timeout=60, check=True)
    assert list(csv.reader(io.StringIO(done.stdout, newline=""))) == [
        ["class", "n", "scale_bits"],
        [NAMES[4], "5", "4"],
        [NAMES[1], "2", ""],
        [NAMES[2], "3", "1e-7"],
        [NAMES[3], "4", "2.5"],
    ]
