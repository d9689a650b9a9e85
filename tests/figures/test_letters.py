"""Names of any script are drawn without a warning: in a font that has them, or spelled, which the log says once."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from semscale_pl.callbacks.recording.class_pictures import class_heatmap
from semscale_pl.figures import letters
from semscale_pl.figures.letters import fonts_for, spelled
from semscale_pl.figures.per_class import per_class_bars
from semscale_pl.figures.radar import radar_panels
from semscale_pl.figures.style import as_pixels, new_figure, save_figure
from semscale_pl.measuring.pictures import scale_against_count, spectra_against_band
from semscale_pl.tables.pictures import confusion_matrix, method_comparison

NAMES = [
    "\u732b", "\ud55c\uad6d", "\u0642\u0637\u0629", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f415\ufe0f",
    "\u05d7\u05ea\u05d5\u05dc", "\u0e41\u0e21\u0e27", "caf\u0065\u0301", "_under", "a_b^2", r"back\slash", "$x^2$", "$",
    "tab\tline\n", "\ud800",
]  # fmt: skip
VALUES = np.linspace(1.0, 2.0, len(NAMES))


PANEL = {"title": NAMES[0] + "$", "classes": NAMES, "counts": VALUES, "scales": VALUES, "imbalance": VALUES}
ROWS = [{"method": name, "mean": 1.0, "half_width": 0.1} for name in NAMES]
SPECTRA = np.tile([3.0, 2.0, 1.0], (len(NAMES), 1))
DRAWINGS: dict[str, Callable[[], Figure]] = {
    "bars": lambda: per_class_bars(NAMES, {"value": VALUES}, title=NAMES[0]),
    "radar": lambda: radar_panels([PANEL]),
    "counts": lambda: scale_against_count(NAMES, VALUES * 10, VALUES),
    "spectra": lambda: spectra_against_band(SPECTRA, NAMES, range(len(NAMES))),
    "heat map": lambda: class_heatmap([VALUES], [0], NAMES, "S", title=NAMES[1]),
    "confusions": lambda: confusion_matrix(np.eye(len(NAMES), dtype=int)[None], NAMES),
    "methods": lambda: method_comparison(ROWS, title=NAMES[4]),
}


@pytest.mark.parametrize("name", list(DRAWINGS))
def test_every_figure_draws_every_script_without_a_warning(name: str, tmp_path: Path) -> None:
    figure = DRAWINGS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "picture.png")


def test_names_are_drawn_as_they_stand() -> None:
    figure = per_class_bars(["$x^2$", "a_b^2", r"back\slash", "$"], {"value": [1.0, 2.0, 3.0, 4.0]})
    as_pixels(figure)
    shown = [label._preprocess_math(label.get_text()) for label in figure.axes[-1].get_xticklabels()]  # type: ignore[attr-defined]
    assert shown == [("$x^2$", False), ("a_b^2", False), (r"back\slash", False), ("$", False)]


def test_a_legend_has_the_class_that_begins_with_an_underscore() -> None:
    figure = spectra_against_band(np.tile([3.0, 2.0, 1.0], (2, 1)), ["_under", "b"], [0, 1])
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()][-2:] == ["_under", "b"]


def test_an_installed_font_is_used_where_it_has_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    greek = "\u03b1\u03b2"
    monkeypatch.setattr(letters, "_base_font", lambda: "none")
    monkeypatch.setattr(letters, "_base_family", lambda: "DejaVu Sans Mono")
    figure, (ax,) = new_figure(3.0, 2.0)
    ax.set_xticks([0], [greek])
    letters.make_readable(figure)
    families, left = fonts_for(set(greek))
    assert left == set()
    assert families[0] in ax.get_xticklabels()[0].get_fontfamily()
    assert ax.get_xticklabels()[0].get_text() == greek


def test_letters_without_a_font_are_spelled_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(letters, "fonts_for", lambda missing: ([], missing))
    monkeypatch.setattr(letters, "_told", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            figure = per_class_bars(["\u732b", "\uac00"], {"value": [1.0, 2.0]}, title="\U0001f415")
            as_pixels(figure)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["(U+732B)", "ga"]
    assert figure.get_suptitle() == "(dog)"
    assert "3 letters" in caplog.records[0].getMessage()
    assert len([record for record in caplog.records if "\\u732b" in record.getMessage()]) == 1


def test_devanagari_keeps_its_sounds() -> None:
    assert "".join(map(spelled, "\u0939\u093f\u0928\u094d\u0926\u0940")) == "hainadaii"
