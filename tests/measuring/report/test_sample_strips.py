"""A report shows the samples that were found, with pictures or by name, below 5 MB whatever was measured."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semscale_pl.features.source import ArraySource
from semscale_pl.measuring.measurement import Measurement
from semscale_pl.measuring.measuring import Settings, measure_source
from semscale_pl.measuring.report import content, rows_to_name, write_report
from semscale_pl.measuring.report.sample_strips import MOST_PICTURES

Measured = Callable[..., Measurement]
EVIL = '<img src=x onerror="alert(1)">&'


def sampled(num_classes: int, per_class: int = 6) -> Measurement:
    generator = np.random.default_rng(0)
    labels = np.arange(num_classes).repeat(per_class)
    rows = generator.normal(size=(len(labels), 12)).astype(np.float32)
    rows[1] = rows[0]
    names = tuple(f"{EVIL if label == 0 else 'class'} {label}" for label in range(num_classes))
    return measure_source(ArraySource(rows, labels, names), Settings(spectrum=8), samples=4)


def written(path: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    assert found is not None
    return json.loads(found.group(1))


def noise(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (3, 128, 128), dtype=np.uint8)


def test_pictures_of_typical_and_distant_samples_stand_in_the_file(tmp_path: Path) -> None:
    measurement = sampled(3)
    path = write_report(measurement, tmp_path / "r.html", picture=noise, about={"date": "2026-01-01"})
    data = written(path)
    assert {strip[0]: strip[1:] for strip in data["samples"]["strips"]} == {
        label: [list(measurement.samples.typical[label]), list(measurement.samples.distant[label])]  # type: ignore[union-attr]
        for label in range(3)
    }
    assert sorted(map(int, data["samples"]["pictures"])) == rows_to_name(measurement)
    assert data["samples"]["equal"].startswith("Nearly equal, at most")
    assert "1 pair of one class and 0 pairs across classes; 1 of these is exact copies" in data["samples"]["equal"]
    assert data["samples"]["pairs"] == [[0, 1, 0, 0, 0.0]]
    assert ["images as read", "128 x 128 pixels"] in data["about"]
    assert ["date", "2026-01-01"] in data["about"]
    assert EVIL not in path.read_text()


def test_without_pictures_rows_have_numbers_and_names(tmp_path: Path) -> None:
    data = written(write_report(sampled(3), tmp_path / "r.html", names={0: EVIL, 10**9: "of no sample shown"}))
    assert data["samples"]["pictures"] == {}
    assert data["samples"]["names"] == {"0": EVIL}


def test_a_thousand_classes_of_large_pictures_stay_below_five_megabytes(tmp_path: Path) -> None:
    read = []

    def picture(row: int) -> np.ndarray:
        read.append(row)
        return noise(row % 7)

    path = write_report(sampled(1000, per_class=3), tmp_path / "r.html", picture=picture)
    assert path.stat().st_size < 5_000_000
    data = written(path)["samples"]
    assert 100 <= len(data["strips"]) < data["classes"] == 1000
    assert len(read) == len(set(read)) <= MOST_PICTURES + 2
    assert set(data["pictures"]) >= {str(row) for _, *parts in data["strips"] for part in parts for row in part}


def test_more_classes_than_a_page_holds_are_cut_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measurement = sampled(30)
    monkeypatch.setattr(content, "MOST_CLASSES", 10)
    data = written(write_report(measurement, tmp_path / "r.html"))
    kept = sorted(measurement.order()[:10])
    assert data["classes"] == [measurement.class_names[label] for label in kept]
    assert "10 classes of smallest S of 30" in data["notices"][0]["text"]
    for place, label in enumerate(kept):
        wanted = [kept.index(other) if other in kept else -1 for other in measurement.nearest[label]]
        assert data["nearest"][place] == wanted
    assert {strip[0] for strip in data["samples"]["strips"]} == set(range(10))


def test_the_largest_page_stays_below_five_megabytes(measured: Measured, tmp_path: Path) -> None:
    one = measured(6, intervals=True, dim=80)
    times = content.MOST_CLASSES // 6 + 1
    many = dataclasses.replace(
        one,
        **{
            name: np.tile(value, (times, *[1] * (value.ndim - 1)))
            for name, value in vars(one).items()
            if isinstance(value, np.ndarray)
        },
        class_names=tuple(f"a class of iNaturalist {number}" for number in range(6 * times)),
    )
    assert write_report(many, tmp_path / "r.html").stat().st_size < 5_000_000


def test_the_head_says_what_was_measured_from_where_and_how(measured: Measured) -> None:
    source = {
        "images": "birds", "path": "/data/birds", "image_size": "16 x 16 pixels, 3 channels",
        "measured": "pixels at 16", "num_features": 768, "overrides": ["dataset=x", "seed=1"],
        "settings": {"alpha": 2.0, "controlled": []},
    }  # fmt: skip
    measurement = dataclasses.replace(measured(4), source=source)
    assert content.about(measurement) == [
        ["images", "birds"],
        ["path", "/data/birds"],
        ["measured", "pixels at 16"],
        ["image size", "16 x 16 pixels, 3 channels"],
        ["settings of the dataset", "seed=1"],
        ["samples", f"{measurement.counts.sum():,} in 4 classes"],
        ["dimensions", "768"],
        ["settings", "alpha 2.0, controlled none"],
    ]
