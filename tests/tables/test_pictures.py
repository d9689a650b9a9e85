"""The comparison figure shows means, intervals and per-class panels as given."""

from __future__ import annotations

import numpy as np
import pytest

from semscale_pl.figures.style import as_pixels
from semscale_pl.tables.pictures import method_comparison

ROWS = [
    {"method": "CE", "mean": 0.6, "half_width": None},
    {"method": "DSB-CE", "mean": 0.7, "half_width": 0.05},
]


def test_points_and_intervals_are_the_rows() -> None:
    figure = method_comparison(ROWS)
    ax = figure.axes[0]
    points, _caps, bars = ax.containers[0]
    assert points.get_xdata().tolist() == [0.6, 0.7]
    segments = bars[0].get_segments()
    assert [np.round(segment[:, 0], 6).tolist() for segment in segments] == [[0.6, 0.6], [0.65, 0.75]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["CE", "DSB-CE"]
    assert ax.get_ylim() == (1.5, -0.5)
    as_pixels(figure)


def test_class_panels_stand_beside() -> None:
    figure = method_comparison(
        ROWS,
        class_names=["cat", "dog"],
        accuracy={"CE": [0.9, 0.1], "DSB-CE": [0.8, None]},
        counts=[30, 3],
        imbalance=[1.0, 0.2],
        title="digits",
    )
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["accuracy", "images n", "imbalance S", ""]
    accuracy = figure.axes[0]
    assert accuracy.lines[0].get_ydata().tolist() == [0.9, 0.1]
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["CE", "DSB-CE"]
    as_pixels(figure)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        method_comparison([])
