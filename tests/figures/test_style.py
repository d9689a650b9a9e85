"""The style leaves pyplot alone, thins out labels, and writes whole files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.figures.style import MOST_TICKS, as_pixels, label_classes, new_figure, save_figure
from semscale_pl.tables.pictures import accuracy_beside_scale


def test_a_figure_is_written_whole_and_overwrites_the_old_one(tmp_path: Path) -> None:
    figure, (ax,) = new_figure(2.0, 1.0)
    ax.plot([0, 1])
    target = tmp_path / "deep" / "picture.png"
    for _ in range(2):
        assert save_figure(figure, target) == target
    assert [path.name for path in target.parent.iterdir()] == ["picture.png"]
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = new_figure(2.0, 1.0)
    target = save_figure(figure, tmp_path / "picture.png")
    before = target.read_bytes()

    def fail(path: Path, format: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, target)
    assert target.read_bytes() == before
    assert os.listdir(tmp_path) == ["picture.png"]


def test_a_path_without_ending_is_refused(tmp_path: Path) -> None:
    figure, _ = new_figure(2.0, 1.0)
    with pytest.raises(ValueError, match=r"Expected `path` to end in .png"):
        save_figure(figure, tmp_path / "picture")


def test_pixels_are_red_green_blue_bytes() -> None:
    figure, _ = new_figure(2.0, 1.0)
    pixels = as_pixels(figure)
    assert pixels.shape == (150, 300, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_many_classes_get_every_kth_label_and_odd_names_stay_text() -> None:
    _, (ax,) = new_figure(4.0, 2.0)
    names = [f"$class_{number}$ with a very long name" for number in range(100)]
    label_classes(ax, names)
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert len(shown) == MOST_TICKS
    assert shown[1].startswith(r"\$class")
    assert list(ax.get_xticks())[1] == 4


def test_drawing_never_imports_pyplot() -> None:
    code = (
        "import sys\n"
        "from semscale_pl.tables.pictures import accuracy_beside_scale\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from semscale_pl.figures.style import as_pixels\n"
        "as_pixels(accuracy_beside_scale(['a', 'b'], [2, 1], [1.0, 0.5], [0.5, None]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_global_settings_stay_as_they_are() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    as_pixels(accuracy_beside_scale(["a", "b"], [2, 1], [1.0, 0.5], [0.5, 0.2]))
    assert dict(matplotlib.rcParams) == before
