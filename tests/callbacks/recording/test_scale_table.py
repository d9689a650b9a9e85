"""The file of per-class values: appended, extended, cut back to an epoch."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from semscale_pl.callbacks.recording.scale_table import ScaleTable

NAMES = ["cat", 'dog, "brown"']


def _fill(table: ScaleTable, epochs: range) -> None:
    for epoch in epochs:
        values = {"n": [30, 3], "scale": [1.5 + epoch, math.nan]}
        if epoch >= 2:
            values["weight"] = [0.1, None]
        table.append(epoch, NAMES, values)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_written_with_empty_cells_for_the_undefined(tmp_path: Path) -> None:
    table = ScaleTable(tmp_path / "run" / "scales.csv")
    _fill(table, range(1))
    rows = _rows(tmp_path / "run" / "scales.csv")
    assert rows == [
        {"epoch": "0", "class_index": "0", "class_name": "cat", "n": "30", "scale": "1.5"},
        {"epoch": "0", "class_index": "1", "class_name": 'dog, "brown"', "n": "3", "scale": ""},
    ]


def test_a_later_column_extends_the_whole_file(tmp_path: Path) -> None:
    table = ScaleTable(tmp_path / "scales.csv")
    _fill(table, range(4))
    rows = _rows(table.path)
    assert [row["weight"] for row in rows] == ["", "", "", "", "0.1", "", "0.1", ""]
    epochs, history = table.history("weight")
    assert epochs == [0, 1, 2, 3]
    assert history[3][0] == 0.1
    assert math.isnan(history[3][1])
    assert table.history("unknown") == ([], [])


@pytest.mark.parametrize("epoch", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("rest", ["", "3,0,ca", "1", '4,1,"dog, ""bro'])
def test_cut_back_and_continued_equals_unbroken(tmp_path: Path, epoch: int, rest: str) -> None:
    unbroken, broken = ScaleTable(tmp_path / "a.csv"), ScaleTable(tmp_path / "b.csv")
    _fill(unbroken, range(5))
    _fill(broken, range(4))
    with broken.path.open("a") as file:
        file.write(rest)
    resumed = ScaleTable(broken.path)
    resumed.cut_back(epoch)
    if epoch == 0:
        assert not broken.path.exists()
    _fill(resumed, range(epoch, 5))
    assert broken.path.read_bytes() == unbroken.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_cut_back_takes_over_another_runs_rows_only_without_a_file_of_its_own(tmp_path: Path) -> None:
    first = ScaleTable(tmp_path / "first.csv")
    _fill(first, range(4))
    second = ScaleTable(tmp_path / "second" / "scales.csv")
    second.cut_back(2, source=first.path)
    _fill(second, range(2, 4))
    assert second.path.read_bytes() == first.path.read_bytes()
    second.cut_back(1, source=tmp_path / "nowhere.csv")
    assert second.history("scale")[0] == [0]


def test_nothing_to_cut_is_fine(tmp_path: Path) -> None:
    table = ScaleTable(tmp_path / "scales.csv")
    table.cut_back(3)
    table.path.write_text("")
    table.cut_back(3)
    assert not table.path.exists()
