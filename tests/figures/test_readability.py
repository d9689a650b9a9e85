"""Nothing in a figure covers anything else or is cut off: names, titles, legends, whiskers."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import LineCollection

from semscale_pl.figures.radar import radar_panels
from semscale_pl.figures.style import as_pixels
from semscale_pl.measuring.pictures import MOST_WHISKERS, scale_against_count, spectra_against_band
from semscale_pl.tables.pictures import method_comparison


def test_classes_at_one_point_share_a_label() -> None:
    figure = scale_against_count(["a", "b", "c"], [1, 1, 5], [0.0, 0.0, 3.0])
    assert [text.get_text() for text in figure.axes[0].texts] == ["a, b", "c"]


def test_whiskers_of_many_classes_are_left_out() -> None:
    for number, drawn in ((MOST_WHISKERS, 1), (MOST_WHISKERS + 1, 0)):
        values = np.arange(1.0, number + 1)
        intervals = np.stack([values - 0.5, values + 0.5], 1)
        figure = scale_against_count([str(value) for value in values], values, values, intervals=intervals)
        assert sum(isinstance(one, LineCollection) for one in figure.axes[1].collections) == drawn


def test_the_legend_of_spectra_stands_beside_the_plot() -> None:
    values = np.exp(-np.arange(20.0))[None].repeat(9, 0)
    figure = spectra_against_band(values, ["a rather long name of a class"] * 9, range(8))
    as_pixels(figure)
    assert figure.legends[0].get_window_extent().x0 >= figure.axes[0].get_window_extent().x1


def test_spectra_count_directions_in_whole_numbers() -> None:
    figure = spectra_against_band(np.exp(-np.arange(3.0))[None], ["a"], [0])
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


def test_a_long_title_stays_within_the_figure() -> None:
    figure = method_comparison([{"method": "CE", "mean": 50.0}], title="a title that goes on and on " * 8)
    as_pixels(figure)
    extent = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1


def test_the_names_of_a_radar_plot_stay_within_the_figure() -> None:
    names = [f"a rather long name {number}" for number in range(20)]
    values = np.linspace(0.1, 1.0, 20)
    panel = {"title": "set", "classes": names, "counts": values, "scales": values, "imbalance": values}
    figure = radar_panels([panel] * 4)
    as_pixels(figure)
    for ax in figure.axes:
        for text in ax.get_xticklabels():
            extent = text.get_window_extent()
            assert extent.x0 >= 0
            assert extent.x1 <= figure.bbox.x1


def test_counts_that_are_all_the_same_leave_a_note_in_place_of_one_vertical_line() -> None:
    for counts, note in (([5, 5, 5], "all 3 classes have n = 5"), ([5, 0, 0], "one class alone")):
        figure = scale_against_count(
            ["a", "b", "c"], counts, [1.0, np.nan, np.nan] if counts[1] == 0 else [1.0, 2.0, 3.0]
        )
        assert note in figure.axes[0].texts[0].get_text()
        as_pixels(figure)
    one_direction = spectra_against_band(np.ones((2, 1)), ["a", "b"], [0, 1])
    assert "more\nthan one direction" in one_direction.axes[0].texts[0].get_text()
