"""A real browser opens reports from disk, without a network and without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from semscale_pl.features.source import ArraySource
from semscale_pl.measuring.measurement import Measurement, Notice
from semscale_pl.measuring.measuring import Settings, measure_source
from semscale_pl.measuring.report import write_report

Measured = Callable[..., Measurement]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")


class Drawn(HTMLParser):
    """What a page looks like after its script ran: the rows of the table, and how many marks every plot has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.marks: dict[str, int] = {}
        self.root: dict[str, str | None] = {}
        self.sorted_by: tuple[str | None, str | None] | None = None
        self.pictures: list[str] = []
        self.notes: dict[str, str] = {}
        self._table = self._plot = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "html":
            self.root = found
        if tag in ("table", "div") and found.get("id"):
            self._table = str(found["id"]) if tag == "table" else ""
            self._plot = str(found["id"])
        if self._table == "table" and tag == "tr" and "data-class" in found:
            self.rows.append([])
        if "aria-sort" in found:
            self.sorted_by = found["data-key"], found["aria-sort"]
        if tag == "img":
            assert str(found["src"]).startswith("data:image/")
            self.pictures.append(str(found["alt"]))
        if tag == "p" and found.get("class") == "empty":
            self.notes[self._plot] = "there"
        if tag in ("rect", "circle", "path") and self._plot:
            self.marks[self._plot] = self.marks.get(self._plot, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if self._table == "table" and self.rows and data.strip():
            self.rows[-1].append(data)

    def column(self, number: int) -> list[str]:
        """Return a column of the table, row by row."""
        return [row[number] for row in self.rows]


def open_page(path: Path, fragment: str, profile: Path) -> Drawn:
    """Open a page with no network, check that nothing complained, and return what the browser holds afterwards."""
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}",
        "--window-size=1200,900", "--dump-dom", f"{path.as_uri()}#{fragment}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if re.search(r"CONSOLE|Refused|Uncaught", line)]
    assert complaints == []
    drawn = Drawn(done.stdout)
    assert "data-error" not in drawn.root
    assert drawn.root.get("data-ready") == "true"
    return drawn


def test_the_table_is_sorted_by_s_and_every_plot_is_drawn(measured: Measured, tmp_path: Path) -> None:
    measurement = measured(12, intervals=True, matched=True, notices=[Notice("few_samples", "Few samples.", (1, 2))])
    drawn = open_page(write_report(measurement, tmp_path / "r.html"), "theme=dark", tmp_path / "profile")
    assert drawn.sorted_by == ("imbalance", "ascending")
    assert drawn.column(0) == [measurement.class_names[label] for label in measurement.order()]
    assert drawn.root["data-theme"] == "dark"
    assert drawn.marks["bars"] == 36  # a bar of the scale, one of the count, a whisker
    assert drawn.marks["scatter"] == 24
    assert {"radar", "spectra", "neighbours"} <= set(drawn.marks)


def test_sorting_and_finding(measured: Measured, tmp_path: Path) -> None:
    measurement = measured(30)
    path = write_report(measurement, tmp_path / "r.html")
    drawn = open_page(path, "sort=scale&order=descending&filter=CLASS%201", tmp_path / "profile")
    wanted = [number for number in range(30) if "class 1" in f"class {number}"]
    wanted.sort(key=lambda number: -measurement.scales[number])
    assert drawn.sorted_by == ("scale", "descending")
    assert drawn.column(0) == [f"class {number}" for number in wanted]
    assert drawn.column(3) == [f"{measurement.scales[number]:.2f}" for number in wanted]


def test_evil_names_are_shown_and_undefined_values_are_named(measure: Measured, tmp_path: Path) -> None:
    names = ["<script>document.title=1</script>", "\"quoted' & <b>bold</b>", "absent"]
    features = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0], [5.0, 6.0]])
    path = write_report(measure(features, torch.tensor([0, 0, 1, 1]), names, dataset=names[0]), tmp_path / "r.html")
    drawn = open_page(path, "class=2", tmp_path / "profile")
    assert set(drawn.column(0)) == set(names)
    assert drawn.rows[-1][0] == "absent"
    assert "n/a" in drawn.rows[-1]


def test_one_class_alone_is_drawn(measure: Measured, tmp_path: Path) -> None:
    alone = measure(torch.randn(5, 3), torch.zeros(5, dtype=torch.long), ["only"])
    assert open_page(write_report(alone, tmp_path / "r.html"), "", tmp_path / "profile").column(0) == ["only"]


def test_a_thousand_classes_take_less_than_five_megabytes(measured: Measured, tmp_path: Path) -> None:
    measurement = measured(1000, intervals=True, matched=True, dim=80)
    assert measurement.spectra.shape == (1000, 64)
    path = write_report(measurement, tmp_path / "r.html")
    assert path.stat().st_size < 5_000_000
    drawn = open_page(path, "sort=class", tmp_path / "profile")
    assert drawn.column(0) == [f"class {number}" for number in range(1000)]


def test_samples_follow_the_table_and_pictures_are_drawn(tmp_path: Path) -> None:
    labels = np.arange(4).repeat(5)
    rows = np.random.default_rng(0).normal(size=(20, 6))
    rows[1] = rows[0]
    source = ArraySource(rows, labels, ("a", "b", "<b>", "d"))
    measurement = measure_source(source, Settings(), samples=2)
    pictures = write_report(measurement, tmp_path / "r.html", picture=lambda row: np.full((3, 9, 9), row, np.uint8))
    drawn = open_page(pictures, "sort=class&filter=b", tmp_path / "profile")
    assert drawn.column(0) == ["<b>", "b"]
    assert drawn.pictures == [
        f"{name}, {role}: row {row}"
        for name, label in (("<b>", 2), ("b", 1))
        for role, chosen in (("near the centre", "typical"), ("far from the centre", "distant"))
        for row in getattr(measurement.samples, chosen)[label]
    ] + ["a, nearly equal: row 0", "a, nearly equal: row 1"]


@pytest.mark.parametrize("counts", [[3, 3, 3], [7], [4, 2]])
def test_plots_with_nothing_to_show_say_so(measure: Measured, counts: list[int], tmp_path: Path) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    features = torch.randn(len(labels), 1, generator=torch.Generator().manual_seed(0))
    path = write_report(measure(features, labels, list("abc")[: len(counts)]), tmp_path / "r.html")
    notes = open_page(path, "", tmp_path / "profile").notes
    assert "spectra" in notes  # one dimension has one direction
    assert ("scatter" in notes) == (counts != [4, 2])
    assert ("bars" in notes) == (counts == [7])
    assert ("radar" in notes) == (len(counts) < 3)
    assert ("neighbours" in notes) == (len(counts) < 3)
